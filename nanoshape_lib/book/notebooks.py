"""Execute a notebook with papermill: parameters checked, nothing half-written, outputs tidied for a page."""

import ast
import base64
import hashlib
import json
import os
import re
import sys
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.style import FILES
from nanoshape_lib.paths import MANIFEST, NOTEBOOKS, PROFILES, ROOT, file_sha256, replacing

_EMPTY_HEAD = re.compile(r"<th([^>]*)>(?:\s|&nbsp;)*</th>")
LOCK = ROOT / "requirements.lock"
_PACKAGE = Path(__file__).resolve().parents[1]

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Execute one notebook; the target appears complete or, if a cell fails, not at all.

    ``parameters`` replace those in the cell tagged ``parameters``. Raises NanoshapeError if one is unknown or of
    another kind, or a cell fails.
    """
    declared = declared_parameters(nbformat.read(source, as_version=4))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise NanoshapeError(
            f"parameter {unknown[0]!r} is not one of {source.name}, which are: {', '.join(declared) or 'none'}"
        )
    for name, value in parameters.items():
        wanted = type(declared[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise NanoshapeError(f"{name} is {value!r}, but must be {_KINDS[wanted]}")
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
        lines = f"{error.ename}: {error.evalue}".split("For further information")[0].split("\n")
        reason = " ".join(" ".join(line.split()) for line in lines[-3:]).strip()
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
    digests = [f"{file.name} {file_sha256(file)}" for file in files if file.is_file()]
    return hashlib.sha256(json.dumps([digests, parameters], sort_keys=True).encode()).hexdigest()


def source_files(code: str) -> list[Path]:
    """Modules of this package that Python code imports, directly or through other modules, and the style sheets."""
    stub = ast.parse((_PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    exports = {name.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names}
    lazy = [f"import nanoshape_lib.{module}" for name, module in exports.items() if re.search(rf"\b{name}\b", code)]
    finder = ModuleFinder(path=[str(_PACKAGE.parent)])
    finder.scan_code(compile("\n".join([code, *lazy]), "notebook", "exec"), finder.add_module("notebook"))
    files = {Path(getattr(module, "__file__", None) or "") for module in finder.modules.values()}
    return sorted([*(file for file in files if _PACKAGE in file.parents), *_PACKAGE.rglob("*.mplstyle")])


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
