"""What the process that reads files may see of its surroundings: the file, the installed libraries, nothing else."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs import reading, sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
LANDLOCK = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) if sys.platform == "linux" else 0
PATCH = """
from nanoshape_lib.micrographs import formats
from nanoshape_lib.errors import NanoshapeError

def read(path, name):
    import os, socket, sys, time

{body}

formats.FORMATS[".npy"] = formats.FORMATS[".npy"]._replace(read=read)
"""


@pytest.fixture
def array(tmp_path) -> Path:
    """A good file."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(100, 10, (70, 90)))
    return tmp_path / "a.npy"


@pytest.fixture
def patch(tmp_path, monkeypatch) -> Iterator:
    """A function that gives the reading process another reader of NumPy files, from the lines of its body."""

    def patched(body: str) -> None:
        (tmp_path / "site").mkdir()
        lines = "\n".join("    " + line for line in body.splitlines())
        (tmp_path / "site" / "sitecustomize.py").write_text(PATCH.format(body=lines))
        monkeypatch.syspath_prepend(tmp_path / "site")
        sandbox.READER.close()

    yield patched
    sandbox.READER.close()


def test_the_process_knows_no_variable_of_the_environment_but_those_that_it_needs(array, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    sandbox.READER.close()
    reading.load(array)
    folder = Path("/proc", str(sandbox.READER._process.pid))
    names = {line.split("=")[0] for line in (folder / "environ").read_text().split("\0") if line}
    fixed = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TIFFFILE_NUM_THREADS", "MALLOC_ARENA_MAX", "PYTHONPATH"}
    assert fixed <= names <= fixed | set(sandbox.ENVIRONMENT)
    assert {os.readlink(folder / "fd" / number) for number in "012"} == {os.devnull}


@pytest.mark.skipif(LANDLOCK < 1, reason="the kernel has no Landlock")
def test_a_reader_opens_nothing_but_its_file_and_the_libraries(array, patch):
    secret = array.with_name("secret")
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        patch(f"""
found = dict()
for what, attempt in dict(
    file=lambda: open(path, "rb"),
    library=lambda: open(os.__file__),
    hostname=lambda: open("/etc/hostname"),
    environment=lambda: open("/proc/self/environ"),
    secret=lambda: open({str(secret)!r}),
    again=lambda: open({str(array)!r}, "r+b"),
    new=lambda: open({str(array.with_name("new"))!r}, "w"),
    folder=lambda: os.listdir("/"),
    remove=lambda: os.remove({str(secret)!r}),
    network=lambda: socket.create_connection({server.getsockname()!r}, 1),
).items():
    try:
        attempt()
        found[what] = "done"
    except OSError as error:
        found[what] = "refused"
raise NanoshapeError(name + " " + " ".join(what for what, how in found.items() if how == "done"))
""")
        with pytest.raises(NanoshapeError) as error:
            reading.load(array)
    done = set(str(error.value).removeprefix(f"{array} ").split())
    assert done - ({"network"} if LANDLOCK < 4 else set()) == {"file", "library"}
    assert secret.exists()


def test_reading_on_and_on_is_stopped(array, patch):
    """A reader that would loop for ever; of its time a fiftieth is left, so that the test is short."""
    patch("""
import signal
left, _ = signal.getitimer(signal.ITIMER_PROF)
signal.setitimer(signal.ITIMER_PROF, left / 50)
while True: pass
""")
    with pytest.raises(NanoshapeError, match="holds more metadata than can be looked through in 10 s"):
        reading.load(array)


def _group(number: int) -> list[int]:
    """The live processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == number and state != "Z":
            found.append(int(folder.name))
    return found


def test_a_killed_caller_leaves_no_reader(array, patch):
    patch("time.sleep(600)")
    code = (
        "import sys, threading; from nanoshape_lib.micrographs import reading, sandbox\n"
        "threading.Thread(target=reading.load, args=(sys.argv[1],), daemon=True).start()\n"
        "while not sandbox.READER._owner: pass\n"
        "print(sandbox.READER._process.pid, flush=True); input()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folder for folder in sys.path if folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(array)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as caller:
        reader = int(caller.stdout.readline())
        deadline = time.monotonic() + 60
        while len(_group(reader)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(_group(reader)) == 2, "the process and its fork"
        caller.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _group(reader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _group(reader)
