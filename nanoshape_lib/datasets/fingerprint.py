"""Which source files stand behind a result: a hash that changes when the code that made it changes."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_NAME = _PACKAGE.name


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


def code_hash(*modules: str) -> str:
    """SHA-256 of modules of this package and of everything in the package that they import.

    Parameters
    ----------
    modules
        Full names, such as ``"nanoshape_lib.simulation.exit_waves"``. Stored beside a cached result, the hash tells
        whether the code that made it is still the same.
    """
    return files_hash(source_files("\n".join(f"import {name}" for name in modules)))


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
    if parts[0] != _NAME:
        return
    folder = _PACKAGE
    yield folder / "__init__.py"
    for part in parts[1:]:
        if (folder / part / "__init__.py").is_file():
            folder = folder / part
            yield folder / "__init__.py"
        else:
            if (folder / f"{part}.py").is_file():
                yield folder / f"{part}.py"
            return
