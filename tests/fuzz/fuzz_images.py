"""Coverage-guided fuzzing of the readers' wrapper and of the models of parameters, with atheris.

Install the extra ``fuzz``, run ``python tests/fuzz/fuzz_images.py -runs=100000``; all options of libFuzzer work, and a
folder keeps what it finds between runs. It starts from small good files of every format.
"""

import logging
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rsciio", "tifffile", "PIL", "nanoshape_lib"]):
    import rsciio.digitalmicrograph._api
    import rsciio.emd._api
    import rsciio.emd._emd_ncem
    import rsciio.emd._emd_velox
    import rsciio.hspy._api
    import rsciio.mrc._api
    import rsciio.tia._api
    import rsciio.tiff._api  # noqa: F401
    from PIL import PngImagePlugin  # noqa: F401

    from nanoshape_lib.datasets.design import DatasetDesign
    from nanoshape_lib.micrographs import cleaning, formats, pixel_size, sandbox
    from nanoshape_lib.simulation.optics import Camera, Microscope

import numpy as np
from pydantic import ValidationError

from nanoshape_lib.errors import NanoshapeError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from microscope_files import PLAIN_WRITERS, WRITERS, write_png

SUFFIXES = list(formats.FORMATS)
MODELS = (Microscope, Camera, DatasetDesign)
DESIGN = (
    '{"sizes_A": [40], "train": {"orientations": 3, "blocks": [0]}, "validation": {"orientations": 1, "blocks": [1]},'
    ' "test": {"orientations": 1, "blocks": [2]}, "defoci_A": [-70, 10, 90], "fidelity": "fast"}'
)
# A folder in memory, where there is one: thousands of files are written.
WORK = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


def read_file(suffix: str, content: bytes) -> None:
    """Read a file of this content; anything but a stack of images or a good sentence is a crash."""
    path = WORK / f"input{suffix}"
    path.write_bytes(content)
    try:
        formats.check_start(path, content[:16], str(path))
        stack = formats.read(str(path), suffix, str(path))
        try:
            frames = list(stack.frames())
        except Exception as error:
            raise formats.refusal(str(path), suffix, error) from None
    except NanoshapeError as error:
        sentence = str(error)
        assert str(path) in sentence and "\n" not in sentence, sentence
        return
    assert all(frame.dtype == np.float32 and frame.shape == stack.data.shape[1:] for frame in frames)
    assert stack.pixel_size_A is None or math.isfinite(stack.pixel_size_A)
    if frames[0].size < 200**2 and np.isfinite(frames[0]).all():
        cleaned = cleaning.clean(frames[0])
        try:
            pixel_size.estimate_pixel_size(cleaned.image)
        except pixel_size.NoLattice:
            return


def read_model(number: int, content: bytes) -> None:
    """Validate a model from JSON; what is accepted must be as good when it is written and read again."""
    model = MODELS[number % len(MODELS)]
    try:
        found = model.model_validate_json(content)
    except (ValidationError, NanoshapeError):
        return
    assert model.model_validate_json(found.model_dump_json()) == found
    if isinstance(found, Microscope):
        assert math.isfinite(found.wavelength_A) and math.isfinite(found.scherzer_defocus_A)


def one_input(data: bytes) -> None:
    """The first byte chooses a format or a model, the rest is its content."""
    if data:
        choice = data[0] % (len(SUFFIXES) + len(MODELS))
        if choice < len(SUFFIXES):
            read_file(SUFFIXES[choice], data[1:])
        else:
            read_model(choice - len(SUFFIXES), data[1:])


def seed(folder: Path) -> None:
    """Good files of every format, and a good set of parameters for every model."""
    image, path = np.random.default_rng(0).integers(0, 200, (64, 66)).astype(np.uint8), WORK / "seed"
    writers = [(name, lambda path, write=write: write(path, image, 0.5)) for name, write in WRITERS.items()]
    writers += [(name, lambda path, write=write: write(path, image)) for name, write in PLAIN_WRITERS.items()]
    for name, write in [*writers, ("image.png", lambda path: write_png(path, image))]:
        path = WORK / name
        write(path)
        (folder / name).write_bytes(bytes([SUFFIXES.index(path.suffix)]) + path.read_bytes())
    models = (Microscope().model_dump_json(), Camera().model_dump_json(), DESIGN)
    for number, text in enumerate(models, len(SUFFIXES)):
        (folder / f"model{number}").write_bytes(bytes([number]) + text.encode())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    corpus = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    folder = Path(corpus[0] if corpus else tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    seed(folder)
    # The limit on memory is that of the process that reads; libFuzzer's own would call a refused file a crash.
    sandbox._limit_memory()
    options = ["-rss_limit_mb=0", "-malloc_limit_mb=0", "-timeout=60", "-max_len=40000"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], *([] if corpus else [str(folder)])], one_input)
    atheris.Fuzz()
