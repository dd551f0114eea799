"""Make the book: execute its notebooks, fetch its JavaScript once, render its pages."""

import html
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
import yaml

from nanoshape_lib.book.javascript import BOOK, install_javascript
from nanoshape_lib.book.notebooks import declared_parameters, execute, fingerprint, recorded_fingerprint, save_figures
from nanoshape_lib.book.page import build_page
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import NOTEBOOKS, ROOT
from nanoshape_lib.studies.profiles import load_profile

EXECUTED = BOOK / "executed"
BUILD = BOOK / "_build"
HTML = BUILD / "html"


def build_book(profile: str = "quick", seed: int = 0) -> Path:
    """Execute every notebook of the book that is not up to date, render the pages, and return the first of them.

    ``seed`` is the root of every random number in the book. Raises NanoshapeError if the profile is unknown, the seed
    negative, a notebook is missing or fails, or Sphinx reports a warning.
    """
    load_profile(profile)
    if seed < 0:
        raise NanoshapeError(f"seed is {seed}, but must not be negative")
    sources = [NOTEBOOKS / f"{name}.ipynb" for name in toc_notebooks()]
    for source in sources:
        if not source.is_file():
            raise NanoshapeError(f"notebooks/{source.name} is named in book/_toc.yml but is missing")
    install_javascript()
    build_page(profile)
    EXECUTED.mkdir(parents=True, exist_ok=True)
    files = EXECUTED / "figures"
    for stale in set(EXECUTED.iterdir()) - {EXECUTED / source.name for source in sources}:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    for source in sources:
        _bring_up_to_date(source, profile, seed)
    files.mkdir()
    for source in sources:
        save_figures(EXECUTED / source.name, files)
    return _render(profile, seed)


def toc_notebooks() -> list[str]:
    """Names of the notebooks of the book, without ending, in reading order."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [name.removeprefix("executed/") for name in files if name.startswith("executed/")]


def _bring_up_to_date(source: Path, profile: str, seed: int) -> None:
    """Execute a notebook into the book unless its last execution still holds."""
    target = EXECUTED / source.name
    declared = declared_parameters(nbformat.read(source, as_version=4))
    parameters = {name: value for name, value in {"profile": profile, "seed": seed}.items() if name in declared}
    if recorded_fingerprint(target) == fingerprint(source, parameters):
        print(f"  {source.stem:30s} up to date", flush=True)
        return
    print(f"  {source.stem:30s} running …", flush=True)
    start = time.monotonic()
    execute(source, target, parameters)
    print(f"  {source.stem:30s} done in {time.monotonic() - start:.0f} s", flush=True)


def _render(profile: str, seed: int) -> Path:
    """Run Jupyter Book over the written pages and the executed notebooks; warnings are errors."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["html_theme_options"]["extra_footer"] = _footer(profile, seed)
    BUILD.mkdir(exist_ok=True)
    written = BUILD / "_config.yml"
    written.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")
    print("  rendering the pages …", flush=True)
    run = "from jupyter_book.cli.main import main; main()"
    options = ["--config", str(written), "--path-output", str(BOOK), "-n", "-W", "--keep-going", "-q"]
    command = [sys.executable, "-c", run, "build", str(BOOK), *options]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    index = HTML / "index.html"
    if result.returncode or not index.is_file():
        raise NanoshapeError("Jupyter Book reported a warning or an error (see above); the pages are not complete")
    return index


def _footer(profile: str, seed: int) -> str:
    """Profile, seed and versions behind the pages, as HTML."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("nanoshape_lib", "abtem", "ase", "torch"))
    return (
        f'<p class="build-note">Figures made with profile <code>{html.escape(profile)}</code>, '
        f"seed <code>{seed}</code>; {html.escape(packages)}. "
        "Code: GPL-3.0-or-later; text, figures and data: CC BY 4.0.</p>"
    )
