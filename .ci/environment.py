"""Print the Python interpreter to use, after installing what is missing. Standard library only.

Usage: python .ci/environment.py [--explicit]

1. An active environment (virtual or conda) that satisfies requirements.lock and holds this package is
   used as it is.
2. Otherwise .venv is made from requirements.lock by the Python that runs this script, and brought up to
   date whenever requirements.lock, pyproject.toml or setup.py has changed. Every file must have one of the
   hashes in the lock. uv installs them where it is on the PATH, for it is faster; else pip does.

With --explicit the user chose the interpreter (PYTHON=...): an active environment is not looked at, and a
.venv of another Python version is made anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "nanoshape-stamp"
RECIPE = (LOCK, ROOT / "pyproject.toml", ROOT / "setup.py")

# Run inside an active environment: prints nothing if it satisfies the lock, else what is amiss.
# Build tools are left out: conda brings its own.
CHECK = """
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from packaging.requirements import Requirement

def found(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"

lock = Path(sys.argv[1])
lines = [line.rstrip(" \\\\") for line in lock.read_text().splitlines()]
pins = [Requirement(line) for line in lines if line and not line.startswith((" ", "#"))]
pins = [pin for pin in pins if not pin.marker or pin.marker.evaluate()]
pins = [pin for pin in pins if pin.name not in ("pip", "setuptools", "wheel")]
amiss = [pin.name for pin in pins if found(pin.name) not in pin.specifier]
direct = ""
if found("nanoshape_lib") != "missing":
    direct = distribution("nanoshape_lib").read_text("direct_url.json") or ""
if lock.parent.as_uri() not in direct:
    amiss.append("nanoshape_lib")
print(", ".join(amiss))
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    say("Error: " + text)
    sys.exit(1)


def active_python():
    """Interpreter of the active environment if that satisfies the lock, else None."""
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = os.environ.get(variable)
        if not prefix or Path(prefix).resolve() == VENV:
            continue
        python = Path(prefix) / "bin" / "python"
        if not python.exists():
            continue
        command = [str(python), "-c", CHECK, str(LOCK)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0 and not result.stdout.strip():
            return python
        if os.environ.get("CONDA_DEFAULT_ENV") != "base":
            say(f"The active environment ({prefix}) does not satisfy requirements.lock; using .venv.")
    return None


def version_of(python):
    """'3.12' for an interpreter, or '' if it does not start."""
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        result = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
        return result.stdout.strip()
    except OSError:
        return ""


def make_venv(explicit):
    """Interpreter of an up-to-date .venv."""
    python = VENV / "bin" / "python"
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = version_of(python)
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in RECIPE)).hexdigest()
    usable = there and (there == own or not explicit)
    if usable and STAMP.exists() and STAMP.read_text() == wanted:
        return python
    if not usable:
        if sys.version_info < (3, 11):  # noqa: UP036 - an older Python may run this very script
            fail(f"Python is {own}, but must be at least 3.11: name one with 'make PYTHON=python3.12 ...'.")
        try:
            import ensurepip  # noqa: F401
            import venv
        except ImportError:
            fail(f"Python {own} cannot make environments: run 'apt-get install python{own}-venv' first.")
        if VENV.exists():
            shutil.rmtree(str(VENV))
        venv.create(str(VENV), with_pip=True)
    if STAMP.exists():
        STAMP.unlink()
    say("Installing requirements.lock into .venv (7 GB; some minutes, once) ...")
    os.environ.update(PIP_ROOT_USER_ACTION="ignore", PIP_DISABLE_PIP_VERSION_CHECK="1")
    pip = [str(python), "-m", "pip", "install", "-qq", "--no-deps"]
    uv = ["uv", "pip", "install", "-q", "--python", str(python), "--no-deps"]
    for what in (["--require-hashes", "-r", str(LOCK)], ["--no-build-isolation", "-e", str(ROOT)]):
        installers = [uv, pip] if shutil.which("uv") else [pip]
        if all(subprocess.run([*each, *what], stdout=sys.stderr, check=False).returncode for each in installers):
            fail("requirements.lock could not be installed into .venv (see above).")
    STAMP.write_text(wanted)
    return python


if __name__ == "__main__":
    chosen = "--explicit" in sys.argv[1:]
    print((None if chosen else active_python()) or make_venv(chosen))
