"""Files in a folder or behind a URL, each of them whole or not there at all."""

import re
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from nanoshape_lib.errors import NanoshapeError

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial$")


class Files:
    """Files by their path below a folder of this machine, or below any URL that fsspec knows.

    Raises
    ------
    NanoshapeError
        If nothing here can reach such a URL.
    """

    def __init__(self, path: str | Path):
        try:
            self._fs, self._root = url_to_fs(str(path) if "://" in str(path) else str(Path(path).absolute()))
        except (ImportError, ValueError) as error:
            raise NanoshapeError(f"store is {path}, but that URL cannot be used: {error}") from None
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        self.path = self.folder or str(path)

    def read(self, name: str) -> bytes | None:
        """Content of a file, None if there is none."""
        try:
            return self._fs.cat_file(f"{self._root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or, on a file system of this machine, not at all."""
        if self.folder is None:
            self._fs.pipe_file(f"{self._root}/{name}", content)
            return
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{uuid.uuid4().hex}.partial")  # as Zarr names them
        try:
            partial.write_bytes(content)
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._root}/{name}")

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of every finished file below a folder."""
        return {name: size for name, size in self._listing(folder).items() if not _PARTIAL.search(name)}

    def remove_partial(self) -> None:
        """Remove what killed writers have left; object stores do not keep such things."""
        if self.folder is not None:
            self.remove(name for name in self._listing() if _PARTIAL.search(name))

    def _listing(self, folder: str = "") -> dict[str, int]:
        self._fs.invalidate_cache()
        found = self._fs.find(f"{self._root}/{folder}".rstrip("/"), detail=True)
        return {name[len(self._root) :].lstrip("/"): entry["size"] for name, entry in found.items()}
