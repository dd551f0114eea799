"""Where things are: the repository, its data, and the check that shipped data are unchanged."""

import hashlib
from pathlib import Path

from nanoshape_lib.errors import NanoshapeError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
NOTEBOOKS = ROOT / "notebooks"
GENERATED = DATA / "generated"
MANIFEST = DATA / "MANIFEST.sha256"

# Scripts, pictures and prose beside the data are not read by the library.
_NOT_DATA = {".py", ".png", ".md", ".sha256"}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_file(name: str) -> Path:
    """Path of a shipped data file whose content agrees with the manifest.

    Parameters
    ----------
    name
        Path below ``data/``, with forward slashes, such as ``"carbon/block_00.npz"``.

    Raises
    ------
    NanoshapeError
        If the file is missing, changed, or not listed in ``data/MANIFEST.sha256``.
    """
    if not MANIFEST.is_file():
        raise NanoshapeError(
            f"{MANIFEST} is missing: install the package from a clone of the repository with 'pip install -e .'"
        )
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
    """List every shipped data file in ``data/MANIFEST.sha256`` and return how many there are.

    The format is that of ``sha256sum``: ``cd data && sha256sum -c MANIFEST.sha256`` verifies it.
    """
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
