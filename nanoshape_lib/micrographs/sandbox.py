"""A process of its own for the readers of files, with limits on memory and time; both ends of the pipe.

A request is a line of JSON. The answer is a line with the shape, then for each frame a line and its float32 pixels; or
a line with the sentence that refuses the file.
"""

import atexit
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.formats import read, refusal

MEMORY_BYTES = 7 * 2**28
"""Address space that reading one file may take, beyond what the libraries take at rest."""
TIME_LIMIT_S = 120.0
FILES_PER_PROCESS = 64


class ReaderProcess:
    """The process that opens files: started at the first, replaced after a failure and after many files."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner, self._files = 0, 0

    def start(self) -> None:
        """Start the process ahead of the first file, so that its libraries load while others do."""
        with self._lock:
            self._running()

    def ask(self, path: str, name: str) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
        """Images (N, rows, columns), pixel size [Å] and notes of a file."""
        with self._lock:
            late = threading.Event()
            process = self._running()

            def stop() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(TIME_LIMIT_S, stop)
            timer.daemon = True
            timer.start()
            try:
                return _exchange(process, path, name)
            except NanoshapeError:
                raise
            except (OSError, EOFError, ValueError):
                self.close()
                why = f"took over {TIME_LIMIT_S:g} s" if late.is_set() else "broke down"
                raise NanoshapeError(
                    f"{name} cannot be read: the reader {why}, so the file is probably damaged"
                ) from None
            except BaseException:
                self.close()
                raise
            finally:
                timer.cancel()

    def _running(self) -> "subprocess.Popen[bytes]":
        """The process, a new one if there is none, it is another process's or it has read many files."""
        self._files += 1
        mine = self._owner == os.getpid()
        if mine and self._process and self._process.poll() is None and self._files <= FILES_PER_PROCESS:
            return self._process
        if mine:
            self.close()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TIFFFILE_NUM_THREADS"), "1")
        search = os.pathsep.join(folder for folder in sys.path if folder)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nanoshape_lib.micrographs.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | threads | {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": search},
            start_new_session=True,
        )
        self._owner, self._files = os.getpid(), 1
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def _exchange(
    process: "subprocess.Popen[bytes]", path: str, name: str
) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    """Ask the process for one file and take its answer."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps([path, name]).encode() + b"\n")
    process.stdin.flush()
    found = _message(process.stdout)
    images = np.empty(found["shape"], np.float32)
    for image in images:
        _message(process.stdout)
        if process.stdout.readinto(memoryview(image).cast("B")) != image.nbytes:  # type: ignore[attr-defined]
            raise EOFError
    return images, found["pixel_size_A"], tuple(found["notes"])


def _message(pipe: Any) -> dict:
    """The next line of the process."""
    line = pipe.readline()
    if not line:
        raise EOFError
    message = json.loads(line)
    if "error" in message:
        raise NanoshapeError(message["error"])
    return message


def _limit_memory() -> None:
    """Limit this process's address space; where the system has no such limit, the checks of sizes remain."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        import dask.array  # noqa: F401
        from PIL import PngImagePlugin  # noqa: F401
        from rsciio import digitalmicrograph, emd, hspy, mrc, tia, tiff  # their libraries count as being at rest

        for plugin in (digitalmicrograph, emd, hspy, mrc, tia, tiff):
            getattr(plugin, "file_reader")  # noqa: B009
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _send(out: BinaryIO, message: dict, frame: np.ndarray | None = None) -> None:
    """One line of JSON, and the pixels it announces."""
    out.write(json.dumps(message).encode() + b"\n")
    if frame is not None:
        out.write(frame.data.cast("B"))
    out.flush()


def _answer(path: str, name: str, out: BinaryIO) -> None:
    """Send what a file holds: shape, pixel size and notes, then frame after frame; or the sentence that refuses it."""
    try:
        stack = read(path, name)
        _send(out, {"shape": stack.data.shape, "pixel_size_A": stack.pixel_size_A, "notes": stack.notes})
        for frame in stack.frames():
            _send(out, {"frame": True}, frame)
    except BrokenPipeError:
        raise
    except Exception as error:
        reason = refusal(name, Path(path).suffix.lower(), error)
        _send(out, {"error": str(reason)})


def serve() -> None:
    """Answer lines of JSON, each with a path and how to call it, until the caller closes the pipe.

    The answers go to what was standard output; what the libraries print goes nowhere.
    """
    out = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    _limit_memory()
    gc.freeze()
    for line in sys.stdin.buffer:
        path, name = json.loads(line)
        _answer(path, name, out)
        gc.collect()


READER = ReaderProcess()
atexit.register(READER.close)

if __name__ == "__main__":
    serve()
