"""Execute a notebook with papermill: parameters checked, nothing half-written, outputs tidied for a page."""

import ast
import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.style import FILES
from nanoshape_lib.paths import MANIFEST, NOTEBOOKS, PROFILES, ROOT, replacing

_EMPTY_HEAD = re.compile(r"<th([^>]*)>(?:\s|&nbsp;)*</th>")
LOCK = ROOT / "requirements.lock"
_PACKAGE = Path(__file__).resolve().parents[1]

_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Execute one notebook; the target appears complete or, if a cell fails, not at all.

    Parameters
    ----------
    source, target
        Notebook to read and to write.
    parameters
        Values that replace those in the cell tagged ``parameters``; only names that stand there.

    Raises
    ------
    NanoshapeError
        If a parameter is unknown or a cell fails.
    """
    declared = declared_parameters(nbformat.read(source, as_version=4))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise NanoshapeError(
            f"parameter {unknown[0]!r} is not one of {source.name}, which are: {', '.join(declared) or 'none'}"
        )
    mark = fingerprint(source, parameters)
    # Progress bars belong on the terminal, not on a page; the kernel must be this interpreter's own.
    os.environ |= {"TQDM_DISABLE": "1", "JUPYTER_PREFER_ENV_PATH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    try:
        with replacing(target) as partial:
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(NOTEBOOKS),
                progress_bar=sys.stderr.isatty(),
                start_timeout=300,
                extra_arguments=["--IPKernelApp.log_level=40"],
            )
            nbformat.write(_tidy(nbformat.read(partial, as_version=4), mark), partial)
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".strip().splitlines()[-1]
        raise NanoshapeError(f"notebooks/{source.name} failed in code cell {error.exec_count}: {reason}") from error


def declared_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Names and default values in the cell tagged ``parameters``."""
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for cell in cells
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def check_profile(profile: str) -> None:
    """Raise a NanoshapeError that lists the profiles there are, unless `profile` is one of them."""
    known = sorted(path.stem for path in PROFILES.glob("*.yml"))
    if profile not in known:
        raise NanoshapeError(f"profile is {profile!r}, but must be one of: {', '.join(known)}")


def fingerprint(source: Path, parameters: dict[str, Any]) -> str:
    """Hash of all that the outputs of a notebook depend on.

    These are the notebook, its parameters, the modules of the library that it imports (directly or not),
    the profile if it has one, the shipped data and the pinned versions.
    """
    cells = [cell.source for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]
    code = re.sub(r"^(\s*)[%!].*$", r"\1pass", "\n".join(cells), flags=re.MULTILINE)
    files = [source, *source_files(code), MANIFEST, LOCK]
    if "profile" in parameters:
        files.append(PROFILES / f"{parameters['profile']}.yml")
    return files_hash((file for file in files if file.is_file()), json.dumps(parameters, sort_keys=True))


def source_files(code: str) -> list[Path]:
    """Files of this package that a piece of Python code imports, directly or through other modules.

    Parameters
    ----------
    code
        Python source, for example the joined code cells of a notebook.

    Returns
    -------
    list of Path
        Modules, the ``__init__`` of every package on the way, and files that are not Python (a style
        sheet, say) beside them; sorted.
    """
    found: set[Path] = set()
    waiting = list(_imported(code, package=""))
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        package = ".".join(path.parent.relative_to(_PACKAGE.parent).parts)
        waiting += _imported(path.read_text(encoding="utf-8"), package)
    beside = {
        file
        for folder in {path.parent for path in found}
        for file in folder.iterdir()
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    return sorted(found | beside)


def files_hash(files: Iterable[Path], *words: str) -> str:
    """SHA-256 over the content of files, in the order given, and over further words."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for word in words:
        digest.update(f"\0{word}".encode())
    return digest.hexdigest()


def _imported(code: str, package: str) -> Iterator[Path]:
    """Files of this package named by the import statements of one source; `package` resolves dots."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield from _files(f"{base}.{alias.name}")


def _files(dotted: str) -> Iterator[Path]:
    """Package files and the module that a dotted name passes through; names inside a module end the walk."""
    parts = dotted.split(".")
    if parts[0] != _PACKAGE.name:
        return
    folder = _PACKAGE
    yield folder / "__init__.py"
    if parts[1:] and parts[1] in (places := _public_places()):
        parts[1:] = places[parts[1]].split(".")
    for part in parts[1:]:
        if (folder / part / "__init__.py").is_file():
            folder = folder / part
            yield folder / "__init__.py"
        else:
            if (folder / f"{part}.py").is_file():
                yield folder / f"{part}.py"
            return


@cache
def _public_places() -> dict[str, str]:
    """Module of each name that the package exports, below the package."""
    stub = ast.parse((_PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = (node for node in stub.body if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def recorded_fingerprint(executed: Path) -> str | None:
    """Fingerprint that an executed notebook was made with, or None if there is no such notebook."""
    if not executed.is_file():
        return None
    return nbformat.read(executed, as_version=4).metadata.get("nanoshape", {}).get("fingerprint")


def save_figures(executed: Path, folder: Path) -> list[Path]:
    """Write every named figure of an executed notebook as PNG, SVG and, where it has numbers, CSV file."""
    written = []
    for cell in nbformat.read(executed, as_version=4).cells:
        name = _figure_name(cell)
        images = [out.data["image/png"] for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
        if name and images:
            contents = {"png": base64.b64decode(images[-1])}
            contents |= {ending: text.encode() for ending, text in cell.metadata.get(FILES, {}).items()}
            for ending, content in contents.items():
                path = folder / f"{name}.{ending}"
                path.write_bytes(content)
                written.append(path)
    return written


def _figure_name(cell: NotebookNode) -> str | None:
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name")


def _tidy(notebook: NotebookNode, mark: str) -> NotebookNode:
    """Keep what a page needs: fold the injected parameters, drop papermill's notes and orphan widgets.

    An empty corner of a table is no heading, though pandas calls it one. Captions end with links to the figure's
    files, which :func:`save_figures` writes into a folder ``figures`` beside the notebook.
    """
    notebook.metadata.pop("papermill", None)
    notebook.metadata["nanoshape"] = {"fingerprint": mark}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        tags = cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = _EMPTY_HEAD.sub(r"<td\1></td>", output.data["text/html"])
            files = output.get("data", {}).pop(FILES, None)
            if files and _figure_name(cell):
                cell.metadata[FILES] = files
                links = (f"{{download}}`{end.upper()} <figures/{_figure_name(cell)}.{end}>`" for end in files)
                cell.metadata["mystnb"]["figure"]["caption"] += f" Download: {', '.join(links)}."
        if "injected-parameters" in tags:
            cell.metadata["tags"] = [*tags, "hide-cell"]
            cell.metadata["mystnb"] = {"code_prompt_show": "The values of this build"}
    states = notebook.metadata.get("widgets", {}).get(_WIDGET_STATE, {}).get("state", {})
    shown = {
        output.data[_WIDGET_VIEW]["model_id"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if _WIDGET_VIEW in output.get("data", {})
    }
    for orphan in set(states) - _reachable(states, shown):
        del states[orphan]
    if not states:
        notebook.metadata.pop("widgets", None)
    return notebook


def _reachable(states: dict[str, Any], shown: set[str]) -> set[str]:
    """Widget models that a page needs: those shown, what they refer to, and links between these."""
    refers = {key: set(re.findall(r"IPY_MODEL_(\w+)", json.dumps(value))) for key, value in states.items()}
    links = {key for key, value in states.items() if value.get("model_name", "").endswith("LinkModel")}
    reached: set[str] = set()
    waiting = set(shown)
    while waiting:
        reached |= waiting
        ends_shown = {key for key in links if refers[key] & reached}
        waiting = (ends_shown | {ref for key in reached for ref in refers.get(key, set())}) - reached
    return reached
