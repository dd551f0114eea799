"""The library from a shell: ``nanoshape --help``."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from typer.core import TyperGroup

from nanoshape_lib.errors import NanoshapeError


class _OneSentence(TyperGroup):
    """Commands whose bad-input errors end in one sentence on stderr and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            message = f"{name} is {first['input']!r}: {first['msg']}"
        except NanoshapeError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
        typer.echo(f"Error: {message}", err=True)
        raise typer.Exit(1)


app = typer.Typer(
    cls=_OneSentence,
    no_args_is_help=True,
    add_completion=False,
    help="3D nanoparticle shapes from HRTEM images: simulate, train, evaluate, and make the book.",
)


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="A file in notebooks/profiles, without its ending.")] = "quick",
    seed: Annotated[int, typer.Option(help="Root of every random number in the book.")] = 0,
) -> None:
    """Execute the notebooks that are not up to date and render the book."""
    from nanoshape_lib.book import build_book

    typer.echo(f"The book is ready: open {build_book(profile, seed)} in a browser.")


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Name or number of a notebook, such as 05.")],
    output: Annotated[Path, typer.Option(help="Folder for the executed notebook and its figures.")] = Path("."),
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, for a declared parameter.")] = None,
) -> None:
    """Execute one notebook and save each of its figures as a PNG file."""
    from nanoshape_lib.notebooks import execute, save_figures
    from nanoshape_lib.paths import NOTEBOOKS

    matches = sorted(NOTEBOOKS.glob(f"{Path(notebook).stem}*.ipynb"))
    if len(matches) != 1:
        names = ", ".join(path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb")))
        raise NanoshapeError(f"notebook is {notebook!r}, but must name one of: {names}")
    parameters = dict(_name_and_value(text) for text in parameter or [])
    output.mkdir(parents=True, exist_ok=True)
    executed = output / f"{matches[0].stem}.executed.ipynb"
    execute(matches[0], executed, parameters)
    for path in [executed, *save_figures(executed, output)]:
        typer.echo(path)


@app.command(hidden=True)
def manifest() -> None:
    """List the shipped data files with their SHA-256 in data/MANIFEST.sha256."""
    from nanoshape_lib.paths import write_manifest

    typer.echo(f"{write_manifest()} files listed in data/MANIFEST.sha256.")


def _name_and_value(text: str) -> tuple[str, Any]:
    """Split ``name=value``; the value is read as YAML, so numbers and true/false keep their type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise NanoshapeError(f"parameter is {text!r}, but must read name=value")
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    app()
