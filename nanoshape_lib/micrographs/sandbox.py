"""A process of its own for the readers of files, with little memory, time and view; both ends of the pipe.

The process imports the libraries once and forks for each file. The fork gets the open file and a pipe; it can open
nothing else but the installed libraries, has no network and knows none of the caller's environment. The answer is a
line of JSON with the shape, then for each frame a line and its float32 pixels; or a line with the sentence that
refuses the file.
"""

import atexit
import contextlib
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nanoshape_lib.errors import NanoshapeError, noting
from nanoshape_lib.micrographs.formats import read, refusal

MEMORY_BYTES = 7 * 2**28
"""Address space that reading one file may take, beyond what the libraries take at rest."""
TIME_LIMIT_S, HEADER_TIME_S = 120.0, 10.0
"""Time that a file may take, and processor time that everything but its pixels may take."""
ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "PYTHONHOME")
"""The variables that the process inherits."""
_LIBRARIES = (
    *("numpy", "h5py", "imagecodecs", "PIL.PngImagePlugin", "dask.array", "distributed", "pint"),
    *("rsciio.utils._units", "rsciio.digitalmicrograph._api", "rsciio.emd._api", "rsciio.emd._emd_ncem"),
    *("rsciio.emd._emd_velox", "rsciio.hspy._api", "rsciio.tia._api", "rsciio.tiff._api"),
)
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


Answer = tuple[np.ndarray, float | None, tuple[str, ...]]
"""Images (N, rows, columns), pixel size [Å] and notes."""


class ReaderProcess:
    """The process that opens files: started at the first, replaced after a failure."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the process ahead of the first file, so that its libraries load while others do."""
        with self._lock:
            self._running()

    def ask(self, file: int, path: str, name: str) -> Answer:
        """What an open file holds."""
        with self._lock:
            control, began = self._running(), time.monotonic()
            timer = threading.Timer(TIME_LIMIT_S, self._kill)
            timer.daemon = True
            timer.start()
            try:
                return _exchange(control, file, path, name)
            except NanoshapeError:
                raise
            except BaseException as error:
                self.close()
                if not isinstance(error, OSError | EOFError | ValueError):
                    raise
                late = time.monotonic() - began >= TIME_LIMIT_S
                why = f"took over {TIME_LIMIT_S:g} s" if late else "broke down"
                words = f"cannot be read: the reader {why}, so the file is probably damaged"
                raise NanoshapeError(f"{name} {words}") from None
            finally:
                timer.cancel()

    def _running(self) -> socket.socket:
        """The socket of the process, a new one if there is none or it is another process's."""
        if self._owner == os.getpid():
            if self._control and self._process and self._process.poll() is None:
                return self._control
            self.close()
        fixed = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TIFFFILE_NUM_THREADS"), "1")
        fixed |= {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nanoshape_lib.micrographs.sandbox", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | fixed,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._owner = os.getpid()
        return self._control

    def _kill(self) -> None:
        """End the process and its forks, which are a group of their own."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process."""
        if self._process is None or self._owner != os.getpid():
            return
        self._kill()
        self._process.wait()
        if self._control:
            self._control.close()
        self._process = self._control = None


def _exchange(control: socket.socket, file: int, path: str, name: str) -> Answer:
    """Hand over one open file and a pipe, and take the answer."""
    answer, theirs = os.pipe()
    with open(answer, "rb") as pipe:
        try:
            socket.send_fds(control, [json.dumps([path, name]).encode()], [file, theirs])
        finally:
            os.close(theirs)
        found = _message(pipe)
        images = np.empty(found["shape"], np.float32)
        with noting(found["notes"]):
            for image in images:
                _message(pipe)
                if pipe.readinto(memoryview(image).cast("B")) != image.nbytes:
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
    # Whatever a reader imports counts as being at rest, and no fork imports it again.
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            import_module(name)
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(request: bytes, file: int, out: BinaryIO) -> None:
    """Send what a file holds: shape, pixel size and notes, then frame after frame; or the sentence that refuses it."""
    path, name = json.loads(request)
    suffix, opened = Path(path).suffix.lower(), f"/proc/self/fd/{file}"

    def too_long(*_: Any) -> None:
        raise NanoshapeError(f"{name} holds more metadata than can be looked through in {HEADER_TIME_S:g} s")

    def send(**message: Any) -> None:
        out.write(json.dumps(message).encode() + b"\n")

    signal.signal(signal.SIGPROF, too_long)
    try:
        signal.setitimer(signal.ITIMER_PROF, HEADER_TIME_S, 1.0)
        # Elsewhere than on Linux a descriptor opened again keeps its position, so the path has to do.
        stack = read(opened if os.path.exists(opened) else path, suffix, name)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(shape=stack.data.shape, pixel_size_A=stack.pixel_size_A, notes=stack.notes)
        for frame in stack.frames():
            send(frame=True)
            out.write(frame.data.cast("B"))
    except BrokenPipeError:
        raise
    except Exception as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(error=str(refusal(name, suffix, error)))


def _leave_network() -> None:
    """Move this process into a network of its own with nothing in it, where the system lets it."""
    new_network, new_user = 0x40000000, 0x10000000
    if sys.platform == "linux" and ctypes.CDLL(None).unshare(new_network):
        ctypes.CDLL(None).unshare(new_network | new_user)


def _open_nothing_but(file: int) -> None:
    """Let this process open an open file again, read the installed libraries and nothing else, and reach no network.

    By Landlock, https://docs.kernel.org/userspace-api/landlock.html; without it in the kernel nothing changes.
    """
    if sys.platform != "linux":
        return
    libc, create, add_rule, restrict = ctypes.CDLL(None), 444, 445, 446
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    read_file, read_folder = 1 << 2, 1 << 3
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    handled = struct.pack("=QQQ", files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    ruleset = libc.syscall(create, handled, ctypes.c_size_t(len(handled)), 0)
    tops = (sys.modules.get(name.split(".")[0]) for name in _LIBRARIES)
    libraries = {os.path.dirname(os.path.dirname(str(top.__file__))) for top in tops if top}
    for folder in libraries | {os.path.dirname(os.__file__), str(sysconfig.get_config_var("LIBDIR")), *_SYSTEM}:
        with contextlib.suppress(OSError):
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            libc.syscall(add_rule, ruleset, 1, struct.pack("=Qi", read_file | read_folder, place), 0)
            os.close(place)
    libc.syscall(add_rule, ruleset, 1, struct.pack("=Qi", read_file, file), 0)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    libc.syscall(restrict, ruleset, 0)
    os.close(ruleset)


def serve(control: socket.socket) -> None:
    """Fork for each open file that comes with a path, how to call it and a pipe, until the caller is gone."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _limit_memory()
    _leave_network()
    gc.freeze()
    try:
        while True:
            request, descriptors, _, _ = socket.recv_fds(control, 2**16, 2)
            if not request:
                return
            file, out = descriptors
            if os.fork() == 0:
                try:
                    control.close()
                    resource.setrlimit(resource.RLIMIT_CPU, (int(TIME_LIMIT_S), int(TIME_LIMIT_S)))
                    _open_nothing_but(file)
                    with open(out, "wb") as pipe:
                        _answer(request, file, pipe)
                finally:
                    os._exit(0)
            os.close(file)
            os.close(out)
    finally:
        os.killpg(0, signal.SIGKILL)


READER = ReaderProcess()
atexit.register(READER.close)

if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
