"""Where shipped data are, checked to be unchanged; and where, under which key, what is computed is kept."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from glob import escape
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
from pydantic import BaseModel

from nanoshape_lib.errors import NanoshapeError

_PACKAGE = Path(__file__).resolve().parent
ROOT = _PACKAGE.parent
# A checkout keeps beside the package what a wheel holds inside it.
IN_CHECKOUT = (ROOT / "pyproject.toml").is_file()
DATA = (ROOT if IN_CHECKOUT else _PACKAGE) / "data"
NOTEBOOKS = ROOT / "notebooks"
PROFILES = (NOTEBOOKS if IN_CHECKOUT else _PACKAGE) / "profiles"
GENERATED = DATA / "generated"
MANIFEST = DATA / "MANIFEST.sha256"

# Scripts, pictures and prose beside the data are not read by the library.
_NOT_DATA = {".py", ".png", ".md", ".sha256"}
# After so long [s] nobody writes any more what lies unfinished.
_ABANDONED = 24 * 3600


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_file(name: str) -> Path:
    """Path of a shipped data file whose content agrees with the manifest.

    The name is a path below ``data/`` with forward slashes, such as ``"carbon/block_00.npz"``. Raises NanoshapeError if
    the file is missing, changed, or not listed in ``data/MANIFEST.sha256``.
    """
    if not MANIFEST.is_file():
        raise NanoshapeError(f"{MANIFEST} is missing: install the package again")
    expected = read_manifest().get(name)
    if expected is None:
        raise NanoshapeError(f"data file is {name!r}, but must be one of those listed in data/MANIFEST.sha256")
    path = DATA / name
    if not path.is_file():
        raise NanoshapeError(f"data/{name} is missing; a file with SHA-256 {expected} is expected there")
    found = file_sha256(path)
    if found != expected:
        raise NanoshapeError(f"data/{name} has SHA-256 {found}, but {expected} is expected")
    return path


def read_manifest() -> dict[str, str]:
    """Expected SHA-256 of every shipped data file, by its path below ``data/``."""
    pairs = (line.split(maxsplit=1) for line in MANIFEST.read_text(encoding="utf-8").splitlines() if line.strip())
    return {name: digest for digest, name in pairs}


def write_manifest() -> int:
    """List every shipped data file in ``data/MANIFEST.sha256``, as ``sha256sum`` does; returns how many there are."""
    files = sorted(
        path
        for path in DATA.rglob("*")
        if path.is_file()
        and path.suffix not in _NOT_DATA
        and GENERATED not in path.parents
        and not any(part.startswith((".", "__")) for part in path.relative_to(DATA).parts)
    )
    lines = [f"{file_sha256(path)}  {path.relative_to(DATA).as_posix()}\n" for path in files]
    MANIFEST.write_text("".join(lines), encoding="utf-8")
    return len(files)


def require_checkout() -> None:
    """Raise NanoshapeError where the package comes from a wheel, which has no notebooks and no pages of the book."""
    if not IN_CHECKOUT:
        raise NanoshapeError("this command needs a clone of the repository, installed with 'pip install -e .[book]'")


def cache_folder() -> Path:
    """What is computed is kept in ``NANOSHAPE_CACHE``, else ``data/generated`` of a checkout, else the user's cache."""
    if named := os.environ.get("NANOSHAPE_CACHE"):
        return Path(named)
    return GENERATED if IN_CHECKOUT else platformdirs.user_cache_path("nanoshape_lib")


def cache_key(step: str, recipe: int | Mapping[str, int], **design: Any) -> str:
    """Key, 12 hexadecimal digits, of what one step of the pipeline makes from a design.

    ``recipe`` is the version of the step, the ``RECIPE`` beside its code, or the versions of several steps by their
    names. It is raised by hand when the results of the step change; what else changes in the code changes no key.
    The design is all that the result depends on: pydantic models, named tuples, enums, numbers and what JSON holds.
    Raises TypeError if it holds anything else, or a number that is not finite.
    """
    content = _as_json({"step": step, "recipe": recipe, "design": design})
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def _as_json(value: Any) -> Any:
    """A value as JSON holds it; equal numbers are alike, whatever their type."""
    if isinstance(value, BaseModel):
        return _as_json(value.model_dump(mode="json"))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _as_json(value._asdict())
    if isinstance(value, Enum):
        return _as_json(value.value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) and math.isfinite(number := float(value)):
        return int(number) if number.is_integer() else number
    raise TypeError(f"a key is made of JSON, but {value!r} of type {type(value).__name__} has no place there")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file or a folder that appears at ``path`` whole or not at all.

    Yields a new path beside it, with the same ending. What is written there is brought to the disk and takes its place
    when the block ends without an error; it is removed otherwise. A file replaces another; a folder that another
    process has put there meanwhile stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.stem)}.*.partial{escape(path.suffix)}"):  # by killed processes
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                _remove(left)
    partial = path.with_name(f".{path.stem}.{uuid4().hex}.partial{path.suffix}")
    try:
        yield partial
        for written in (*partial.rglob("*"), partial):
            _to_disk(written)
        try:
            partial.replace(path)
        except OSError:
            if not (partial.is_dir() and path.is_dir()):
                raise
        _to_disk(path.parent)
    finally:
        _remove(partial)


def _to_disk(path: Path) -> None:
    with suppress(PermissionError):  # Windows opens no folder
        opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
