"""The library from a shell: ``nanoshape --help``."""

import contextlib
import math
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError
from typer.core import TyperGroup

from nanoshape_lib import paths
from nanoshape_lib.errors import NanoshapeError


def _sentence(error: ValidationError) -> str:
    """What is wrong first with a design or a configuration."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["type"] == "extra_forbidden":
        return f"{name} is {first['input']!r}, but there is no such field"
    if first["type"] == "value_error":
        return first["msg"].removeprefix("Value error, ")
    rule = first["msg"].partition(",")[0].replace("Input should", "must").replace("a valid integer", "a whole number")
    return f"{name} is {first['input']!r}, but {rule}"


class _OneSentence(TyperGroup):
    """Commands whose bad-input errors end in one sentence on stderr and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValidationError, NanoshapeError) as error:
            message = _sentence(error) if isinstance(error, ValidationError) else str(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            message = f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
        typer.echo(f"Error: {message}", err=True)
        raise typer.Exit(1)


FinishedStore = Annotated[str, typer.Argument(help="Folder or URL of a finished Zarr store.")]

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
    paths.require_checkout()
    from nanoshape_lib.book.build import build_book

    typer.echo(f"The book is ready: open {build_book(profile, seed)} in a browser.")


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Name or number of a notebook, such as 05.")],
    output: Annotated[Path, typer.Option(help="Folder for the executed notebook and its figures.")] = Path("."),
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, for a declared parameter.")] = None,
) -> None:
    """Execute one notebook and save each of its figures as a PNG file."""
    paths.require_checkout()
    from nanoshape_lib.book.notebooks import execute, save_figures

    matches = sorted(paths.NOTEBOOKS.glob(f"{Path(notebook).stem}*.ipynb"))
    if len(matches) != 1:
        names = ", ".join(path.stem for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")))
        raise NanoshapeError(f"notebook is {notebook!r}, but must name one of: {names}")
    parameters = dict(_name_and_value(text) for text in parameter or [])
    output.mkdir(parents=True, exist_ok=True)
    executed = output / f"{matches[0].stem}.executed.ipynb"
    execute(matches[0], executed, parameters)
    for path in [executed, *save_figures(executed, output)]:
        typer.echo(path)


@app.command()
def simulate(
    design: Annotated[str, typer.Argument(help="A YAML file with a design, or a file in notebooks/profiles.")],
    store: Annotated[str, typer.Argument(help="Folder or URL of the Zarr store to make, to finish or to repair.")],
    seed: Annotated[int | None, typer.Option(help="Root of every random number; by default the design's.")] = None,
    workers: Annotated[int | None, typer.Option(help="Local processes; by default one per core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask cluster, tcp://host:port.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Make the exit waves of a design; the same command again finishes or repairs them."""
    from nanoshape_lib.datasets.generation import cost_lines, generate
    from nanoshape_lib.studies.profiles import load_design

    wanted = load_design(design, seed)
    for line in cost_lines(wanted, store, workers, "cpu" if scheduler else device):
        typer.echo(line)
    made = generate(wanted, store, workers, scheduler, device)
    typer.echo(f"{made.path} holds {wanted.counts}.")


@app.command()
def verify(store: FinishedStore) -> None:
    """Read every byte of a store and list the files that are missing or damaged."""
    from nanoshape_lib.datasets.store import Store

    faults = Store(store).verify()
    for fault in faults:
        typer.echo(f"{fault.file} is {fault.problem}")
    if faults:
        count = len(faults)
        raise NanoshapeError(f"{store} has {count} missing or damaged files; simulate its design again to repair them")
    typer.echo(f"{store}: every file is as it was written.")


@app.command()
def info(
    store: Annotated[str, typer.Argument(help="Folder or URL of a Zarr store, finished or not.")],
    sheet: Annotated[Path | None, typer.Option(help="PNG file for one image of each shape and size.")] = None,
) -> None:
    """Say what is in a store."""
    from nanoshape_lib.datasets.store import Store

    if sheet is not None and sheet.suffix != ".png":
        raise NanoshapeError(f"sheet is {sheet}, but must end in .png")
    opened = Store(store)
    for line in opened.lines():
        typer.echo(line)
    if sheet is not None:
        from nanoshape_lib.figures.microscopy import contact_sheet

        contact_sheet(*opened.sheet()).savefig(sheet)
        typer.echo(f"contact sheet: {sheet}")


@app.command()
def train(
    store: FinishedStore,
    folder: Annotated[Path, typer.Argument(help="Run folder: weights, card, checkpoint.")],
    architecture: Annotated[str, typer.Option(help="cnn4, cnn5, cnn6 or resnet34.")] = "cnn6",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    seed: Annotated[int, typer.Option(help="Root of every random number of the training.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Train a network on a store; the same command again takes up an interrupted training."""
    from nanoshape_lib.datasets.generation import Store
    from nanoshape_lib.datasets.images import make_images
    from nanoshape_lib.networks.training import TrainingConfig, fit
    from nanoshape_lib.simulation.devices import check_device

    check_device(device)
    asked = {"architecture": architecture, "epochs": epochs, "batch_size": batch_size, "seed": seed, "device": device}
    config = TrainingConfig.model_validate(asked)
    waves = Store(store)
    _, card = fit(config, make_images(waves, "train", turned=True), make_images(waves, "validation"), folder)
    accuracy = card["history"][card["best_epoch"] - 1]["validation_accuracy"]
    typer.echo(f"{folder}/weights.safetensors: validation accuracy {accuracy:.3f} at epoch {card['best_epoch']}.")


@app.command()
def study(
    name: Annotated[str, typer.Argument(help="The study, such as ood; any other word lists them all.")],
    profile: Annotated[str, typer.Option(help="A file in notebooks/profiles, without its ending.")] = "paper",
    seed: Annotated[int, typer.Option(help="Root of every random number.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    max_hours: Annotated[float, typer.Option(help="No epoch and no part begins after so many hours.")] = math.inf,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the tables; by default data/results for the profile paper.")
    ] = None,
) -> None:
    """Train what a study lacks and write its tables; the same command again goes on."""
    from nanoshape_lib.studies import runner
    from nanoshape_lib.studies.profiles import load_profile
    from nanoshape_lib.studies.results import RESULTS

    if not max_hours > 0:
        raise NanoshapeError(f"max_hours is {max_hours:g}, but must be positive")
    deadline = time.monotonic() + 3600 * max_hours
    settings = load_profile(profile, seed).on_device(device)
    whole = profile == "paper" and seed == 0 and paths.IN_CHECKOUT
    folder = output or (RESULTS if whole else paths.cache_folder() / f"results-{profile}-seed{seed}")
    weights = paths.DATA / "weights" if whole and output is None else folder / "weights"
    job = runner.Job(settings, folder, weights, deadline)
    asked = runner.study(name, job)
    missing = runner.run(asked, job, name)
    left = f", {len(missing)} are missing, {missing[0]} is the next" if missing else ""
    done = len(asked.parts) - len(missing)
    typer.echo(f"{folder} holds the tables of {name}: {done} of {len(asked.parts)} parts are done{left}.")


@app.command()
def evaluate(
    weights: Annotated[Path, typer.Argument(help="A weights.safetensors with its card beside it.")],
    store: FinishedStore,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    output: Annotated[Path | None, typer.Option(help="CSV file for the prediction of every image.")] = None,
) -> None:
    """Accuracy of trained weights on one split of a store, with its interval over exit waves."""
    from nanoshape_lib.datasets.generation import SPLITS, Store
    from nanoshape_lib.datasets.images import make_images
    from nanoshape_lib.networks.evaluation import accuracy_interval, by_particle, predictions_table
    from nanoshape_lib.networks.models import load_weights
    from nanoshape_lib.networks.training import predict

    names = {str(name): name for name in SPLITS}
    if split not in names:
        raise NanoshapeError(f"split is {split!r}, but must be one of {', '.join(names)}")
    model, _ = load_weights(weights)
    images = make_images(Store(store), names[split])
    logits = predict(model, images.images)
    predictions, particles = predictions_table(images.table, logits), by_particle(images.table, logits)
    for title, table in {"image": predictions, "particle": particles}.items():
        value, low, high = accuracy_interval(table)
        typer.echo(f"accuracy per {title}: {value:.4f} (95 % interval {low:.4f} to {high:.4f}, {len(table)} of them)")
    if output is not None:
        predictions.to_csv(output, index=False)


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Images of a microscope: dm3, dm4, emd, ser, tif, mrc, png, …")],
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in ångströms, if the file does not say.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for predictions.csv and index.html.")] = Path("report"),
    weights: Annotated[list[Path] | None, typer.Option(help="Weights; several times for an ensemble.")] = None,
    coverage: Annotated[float, typer.Option(help="How often the set of shapes shall hold the true one.")] = 0.95,
    whole_field: Annotated[bool, typer.Option(help="The middle of each image is one particle.")] = False,
    match: Annotated[bool, typer.Option(help="Find the simulation that fits each particle best; slow.")] = False,
) -> None:
    """Name the shape of every particle in images of a microscope, or say that it is not known."""
    from nanoshape_lib.micrographs.sandbox import READER

    READER.start()
    from nanoshape_lib.micrographs.analysis import WEIGHTS, Explainer, analyse_all, predictions
    from nanoshape_lib.micrographs.report import summary, write_report
    from nanoshape_lib.trust.classifier import Classifier

    chosen = weights or [WEIGHTS]
    classifier = Classifier(chosen, coverage)
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise NanoshapeError(f"out is {out}, but nothing can be written into that folder")
    explainer = Explainer(classifier, match)
    analyses, refused = analyse_all(files, classifier, pixel_size, whole_field, explainer)
    noted = [note for analysis in analyses for note in analysis.micrograph.notes]
    for note in noted + [note for error in refused for note in getattr(error, "__notes__", ())]:
        typer.echo(f"Note: {note}.", err=True)
    names = ", ".join(path.name for path in chosen)
    about = f"Network: {names}; sets that hold the true shape in {coverage:.0%} of cases."
    page = write_report(out, analyses, refused, about)
    typer.echo(f"{summary(predictions(analyses))}. Open {page}.")
    for error in refused:
        typer.echo(f"Error: {error}", err=True)
    if refused:
        raise typer.Exit(1)


@app.command(hidden=True)
def manifest() -> None:
    """List the shipped data files with their SHA-256 in data/MANIFEST.sha256."""
    typer.echo(f"{paths.write_manifest()} files listed in data/MANIFEST.sha256.")


def _name_and_value(text: str) -> tuple[str, Any]:
    """Split ``name=value``; the value is read as YAML, so numbers (1e2, too) and true/false keep their type."""
    name, equals, value = text.partition("=")
    if not equals:
        raise NanoshapeError(f"parameter is {text!r}, but must read name=value")
    read = yaml.safe_load(value)
    with contextlib.suppress(ValueError):
        read = float(read) if isinstance(read, str) else read
    return name, int(read) if isinstance(read, float) and read.is_integer() else read


if __name__ == "__main__":
    app()
