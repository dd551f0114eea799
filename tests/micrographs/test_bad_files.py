"""Whatever a file holds, it loads, or one sentence that names it says why not; and memory stays bounded."""

import contextlib
import io
import os
import re
import shutil
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from microscope_files import (
    PLAIN_WRITERS,
    WRITERS,
    signal,
    write_blo,
    write_dm,
    write_mrc,
    write_png,
    write_ser,
    write_velox,
)

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs import formats, reading, sandbox

SIZE = (64, 72)
CUTS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999)
FLIPS_PER_FORMAT = 10
OUTCOMES: dict[str, str] = {}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    """One good file of each format."""
    folder, frame = tmp_path_factory.mktemp("good"), np.random.default_rng(0).poisson(90, SIZE).astype(np.uint16)
    files = {}
    for name, write in WRITERS.items():
        write(folder / name, frame, 0.5)
        files[name] = folder / name
    for name, write_plain in PLAIN_WRITERS.items():
        write_plain(folder / name, frame)
        files[name] = folder / name
    write_png(folder / "image.png", frame)
    write_blo(folder / "scan.blo")
    return files | {"image.png": folder / "image.png", "scan.blo": folder / "scan.blo"}


def _outcome(path: Path, pixel_size_A: float | None = None) -> reading.Micrograph | str:
    """The micrograph, or the sentence; anything else fails the test."""
    try:
        found = reading.load(path, pixel_size_A)
    except NanoshapeError as error:
        sentence = str(error)
        OUTCOMES[str(path)] = sentence
        assert str(path) in sentence or ascii(str(path)) in sentence
        assert "\n" not in sentence and len(sentence) < 400 + len(str(path)) and not sentence.endswith(".")
        return sentence
    assert found.images.dtype == np.float32 and found.images.ndim == 3 and np.isfinite(found.images).all()
    OUTCOMES[str(path)] = "loaded"
    return found


@pytest.mark.parametrize("name", [*WRITERS, *PLAIN_WRITERS, "image.png", "scan.blo"])
def test_a_file_cut_short_is_refused_unless_nothing_is_missing(good, name, tmp_path):
    content, whole = good[name].read_bytes(), _outcome(good[name])
    path = tmp_path / name
    for length in sorted({int(cut * len(content)) for cut in CUTS} | {0, 1, 4, 16, len(content) - 1}):
        path.write_bytes(content[:length])
        found = _outcome(path)
        OUTCOMES[f"{path}:{length}"] = OUTCOMES[str(path)]
        if isinstance(found, reading.Micrograph):
            assert isinstance(whole, reading.Micrograph)
            np.testing.assert_array_equal(found.images, whole.images)
            assert length > 0.9 * len(content)


@pytest.mark.parametrize("name", [*WRITERS, *PLAIN_WRITERS, "image.png"])
def test_flipped_bits_are_harmless_or_refused(good, name, tmp_path):
    rng = np.random.default_rng(sum(name.encode()))
    content, path = good[name].read_bytes(), tmp_path / name
    for trial in range(FLIPS_PER_FORMAT):
        spoilt = bytearray(content)
        # Half of them in the first part of the file, where most formats keep what steers a reader.
        reach = min(len(spoilt), 2000) if trial % 2 else len(spoilt)
        for place in rng.integers(0, reach, 3):
            spoilt[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        _outcome(path)
        OUTCOMES[f"{path}:flip{trial}"] = OUTCOMES[str(path)]


@pytest.mark.parametrize("suffix", [".dm3", ".dm4", ".emd", ".ser", ".tif", ".mrc", ".blo", ".hspy", ".png", ".npy"])
def test_a_wrong_ending_is_refused(good, suffix, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.npy", b"nothing")
    contents = {"text": b"defocus = 80\n" * 200, "zip": archive.getvalue()}
    contents |= {name: file.read_bytes() for name, file in good.items() if file.suffix not in (suffix, suffix + "f")}
    for name, content in contents.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        assert isinstance(_outcome(path), str), name


def _npy_header(path: Path, shape: tuple[int, ...], dtype: str = "<u2") -> None:
    """A NumPy header that announces more than there is; the file is sparse."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)


def _png_header(path: Path, columns: int, rows: int, data: bytes) -> None:
    """A PNG file of 16-bit grey whose pixels are packed zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">LLBBBBB", columns, rows, 16, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def _special() -> dict[str, tuple]:
    """Name of a file: how to write it, and what its sentence must say."""
    noise = np.random.default_rng(0).normal(100, 10, (100, 80)).astype(np.float32)

    def constant(path: Path) -> None:
        np.save(path, np.full((2, 80, 80), 7.0))

    def holed(value: float):
        def write(path: Path) -> None:
            spoilt = noise.copy()
            spoilt[50, 50] = value
            np.save(path, spoilt)

        return write

    def hspy(data: np.ndarray, **keywords):
        def write(path: Path) -> None:
            from rsciio.hspy import file_writer

            file_writer(str(path), signal(data, **keywords))

        return write

    def bomb(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["file_format_version"] = "3.3"
            group = file.create_group("Experiments/image")
            group.create_dataset("data", (50_000, 50_000), "f4", chunks=(5000, 5000), compression="gzip", fillvalue=1.0)
            for name in ("metadata", "original_metadata"):
                group.create_group(name)
            for axis in range(2):
                group.create_group(f"axis-{axis}").attrs.update(
                    {"size": 50_000, "name": "yx"[axis], "scale": 0.05, "offset": 0.0, "units": "nm", "navigate": False}
                )

    def linked_pipe(path: Path) -> None:
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")

    def tiff_bomb(path: Path) -> None:
        tile = zlib.compress(bytes(2000 * 2000))
        tiles = (tile for _ in range(25 * 25))
        tifffile.imwrite(path, tiles, shape=(50_000, 50_000), dtype=np.uint8, tile=(2000, 2000), compression="zlib")

    return {
        "empty.dm4": (lambda path: path.write_bytes(b""), "is empty"),
        "tiny.npy": (lambda path: np.save(path, noise[:5, :5]), "has 5 x 5 pixels"),
        "tiny.dm3": (lambda path: write_dm(path, noise[:5, :5].copy(), (0.05, 0.05)), "has 5 x 5 pixels"),
        "narrow.mrc": (lambda path: write_mrc(path, noise[:, :10], 0.5), "has 100 x 10 pixels"),
        "huge.npy": (lambda path: _npy_header(path, (50_000, 50_000)), "50000 x 50000 pixels"),
        "huge.png": (lambda path: _png_header(path, 50_000, 50_000, b""), "50000 x 50000 pixels"),
        "bomb.hspy": (bomb, "50000 x 50000 pixels"),
        "bomb.tif": (tiff_bomb, "50000 x 50000 pixels"),
        "long.npy": (lambda path: _npy_header(path, (40, 2048, 2048)), "at most 134 million"),
        "wide.npy": (lambda path: _npy_header(path, (2, 8192, 8192), "<f16"), "at most 1 GiB"),
        "bomb.png": (
            lambda path: _png_header(path, 4000, 4000, zlib.compress(bytes(4000 * 8001))),
            "is constant",
        ),
        "overfull.png": (lambda path: _png_header(path, 64, 64, zlib.compress(bytes(10**8))), "is constant"),
        "constant.npy": (constant, "frame 1 of"),
        "nan.npy": (holed(np.nan), "not finite"),
        "infinite.npy": (holed(np.inf), "not finite"),
        "overflow.npy": (lambda path: np.save(path, noise.astype(float) * 1e300), "not finite"),
        "complex.npy": (lambda path: np.save(path, noise + 1j), "complex"),
        "complex.dm4": (lambda path: write_dm(path, noise.astype(np.complex64), (0.05, 0.05)), "complex"),
        "complex.ser": (lambda path: write_ser(path, noise.astype(np.complex64), 5e-11), "complex"),
        "complex.mrc": (lambda path: write_mrc(path, noise.astype(np.complex64), 0.5), "complex"),
        "text.npy": (lambda path: np.save(path, np.full((80, 80), "x")), "must hold integers or real numbers"),
        "pickle.npy": (lambda path: np.save(path, np.full((80, 80), None), allow_pickle=True), "of type object"),
        "colour.png": (
            lambda path: write_png(path, np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)),
            "colour",
        ),
        "colour.tif": (
            lambda path: tifffile.imwrite(
                path, np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8), photometric="rgb"
            ),
            "colour",
        ),
        "planar.tif": (
            lambda path: tifffile.imwrite(
                path,
                np.random.default_rng(0).integers(0, 255, (3, 80, 80)).astype(np.uint8),
                photometric="rgb",
                planarconfig="separate",
            ),
            "colour",
        ),
        "colour.npy": (lambda path: np.save(path, np.zeros((80, 80, 3), np.uint8)), "colour"),
        "line.npy": (lambda path: np.save(path, noise[0]), "a spectrum or a line"),
        "number.npy": (lambda path: np.save(path, np.float64(3)), "a spectrum or a line"),
        "nothing.npy": (lambda path: np.save(path, np.zeros((0, 80, 80))), "holds no image"),
        "scan.npy": (lambda path: np.save(path, np.zeros((3, 3, 80, 80), np.uint8)), "4D-STEM"),
        "scan.hspy": (hspy(np.zeros((3, 3, 80, 80), np.uint8)), "4D-STEM"),
        "pattern.hspy": (hspy(noise, signal_type="electron_diffraction"), "diffraction"),
        "pattern.dm4": (lambda path: write_dm(path, noise, (0.05, 0.05), "1/nm"), "diffraction pattern"),
        "pattern.emd": (lambda path: write_velox(path, noise, 1e8, "1/m"), "diffraction pattern"),
        "mrad.dm3": (lambda path: write_dm(path, noise, (0.05, 0.05), "mrad"), "diffraction pattern"),
        "inverse.dm4": (lambda path: write_dm(path, noise, (0.05, 0.05), "nm^-1"), "diffraction pattern"),
        "pattern.ser": (lambda path: write_ser(path, noise, 4.2e7), "is a diffraction pattern (its pixels are 4.2e+07"),
        "metres.emd": (lambda path: write_velox(path, noise, 1e8), "is a diffraction pattern (its pixels are 1e+08"),
        "metres.hspy": (hspy(noise, pixel_size_A=3e8, unit="m"), "is a diffraction pattern (its pixels are 3e+07"),
        "rgba.dm3": (lambda path: write_dm(path, noise.view("i4"), (0.05, 0.05), kind=23), "is a colour image"),
        "rgba.dm4": (lambda path: write_dm(path, noise.view("i4"), (0.05, 0.05), kind=23), "is a colour image"),
        "bgra.dm3": (lambda path: write_dm(path, noise.view("i4"), (0.05, 0.05), kind=8), "is a colour image"),
        "loss.dm4": (lambda path: write_dm(path, noise, (0.05, 0.05), "eV"), "a spectrum"),
        "oblong.dm4": (lambda path: write_dm(path, noise, (0.05, 0.06)), "must be square"),
        "fine.dm4": (lambda path: write_dm(path, noise, (0.001, 0.001)), "must lie between 0.05 and 10 Å"),
        "coarse.ser": (lambda path: write_ser(path, noise, 5e-9), "must lie between 0.05 and 10 Å"),
        "table.hspy": (lambda path: h5py.File(path, "w").close(), "is no readable HyperSpy file"),
        "table.emd": (lambda path: h5py.File(path, "w").close(), "is no readable EMD file"),
        "scan.blo": (write_blo, "diffraction patterns"),
        "image.jpg": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "must end in one of .dm3"),
        "noending": (lambda path: path.write_bytes(b"abc"), "must end in one of .dm3"),
        "two\nlines.npy": (constant, "is constant"),
        "missing.tif": (lambda path: None, "does not exist"),
        "folder.tif": (lambda path: path.mkdir(), "is a folder"),
        "pipe.tif": (lambda path: os.mkfifo(path), "is a device, socket or pipe"),
        "loop.tif": (lambda path: path.symlink_to(path), "cannot be opened"),
        "linked.tif": (linked_pipe, "is a device, socket or pipe"),
        "a" * 300 + ".tif": (lambda path: None, "cannot be opened"),
        "null\0.tif": (lambda path: None, "cannot be the name of a file"),
    }


@pytest.mark.parametrize("name", _special())
def test_what_is_no_micrograph_is_refused_for_the_right_reason(name, tmp_path):
    write, reason = _special()[name]
    path = tmp_path / name
    write(path)
    sentence = _outcome(path)
    assert isinstance(sentence, str), "it was loaded"
    assert reason in sentence


@pytest.mark.parametrize("unit", ["", "px", "smoot", "9**9**9**9"])
def test_an_unknown_unit_leaves_the_pixel_size_open(unit, tmp_path):
    write_dm(tmp_path / "a.dm4", np.random.default_rng(0).poisson(9, SIZE).astype(np.uint16), (0.05, 0.05), unit)
    found = _outcome(tmp_path / "a.dm4")
    assert isinstance(found, reading.Micrograph) and found.pixel_size_A is None
    assert ("no unit of length" in found.notes[0]) == (unit in ("smoot", "9**9**9**9"))


@pytest.mark.parametrize("size", [0, -1, 0.01, 11, float("nan"), float("inf"), "0.5", True])
def test_an_absurd_pixel_size_of_the_user_is_refused(size, good):
    with pytest.raises(NanoshapeError, match=r"^pixel_size_A is .*, but must lie between 0\.05 and 10 Å$"):
        reading.load(good["plain.tif"], size)


def test_a_file_without_permission(good, tmp_path):
    path = tmp_path / "locked.npy"
    path.write_bytes(good["numpy.npy"].read_bytes())
    path.chmod(0)
    ours = os.geteuid()
    if ours == 0:  # nothing is forbidden to root
        for folder in (tmp_path, *tmp_path.parents):
            if folder.owner() == "root" and "pytest" in str(folder):
                folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        os.seteuid(65534)
    try:
        sentence = _outcome(path)
    finally:
        os.seteuid(ours)
    assert isinstance(sentence, str) and "you have no permission to read it" in sentence


def _resident(name: str) -> int:
    """A number of this process's memory [bytes], VmRSS now or VmHWM at most."""
    return 1024 * int(re.findall(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[0])


@contextlib.contextmanager
def _peaks() -> Iterator[list[int]]:
    """Peaks of resident memory [bytes] of those that read files meanwhile, and of what this process takes more."""
    found, done = [0], threading.Event()
    sandbox.READER.start()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    at_rest = _resident("VmRSS")
    reader = sandbox.READER._process
    assert reader is not None

    def watch() -> None:
        while not done.wait(0.005):
            for child in Path(f"/proc/{reader.pid}/task/{reader.pid}/children").read_text().split():
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{child}/status").read_text()
                    found.extend(int(kB) * 1024 for kB in re.findall(r"VmHWM:\s+(\d+)", status))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        done.set()
        watching.join()
        assert len(found) > 1, "no reader was seen"
        found.append(_resident("VmHWM") - at_rest)


def test_a_greedy_file_is_stopped_by_the_limit_on_memory(tmp_path, monkeypatch):
    """A chunk that unpacks to 4 GiB hides in an image of 64 x 64 pixels, so no check of shapes can see it."""
    path = tmp_path / "greedy.hspy"
    with h5py.File(path, "w") as file:
        file.attrs["file_format_version"] = "3.3"
        group = file.create_group("Experiments/image")
        side = 23_000
        data = group.create_dataset("data", (64, 64), "f8", chunks=(side, side - 1), maxshape=(None, None))
        data.id.write_direct_chunk((0, 0), b"\0" * 1000)
        for name in ("metadata", "original_metadata"):
            group.create_group(name)
        for axis in range(2):
            group.create_group(f"axis-{axis}").attrs.update(
                {"size": 64, "name": "yx"[axis], "scale": 0.05, "offset": 0.0, "units": "nm", "navigate": False}
            )
    with _peaks() as peaks:
        assert isinstance(_outcome(path), str)
    assert max(peaks) < 2e9


def test_the_largest_image_stays_under_two_gigabytes(tmp_path):
    side = int(np.sqrt(formats.MAXIMUM_PIXELS)) // 64 * 64
    path = tmp_path / "large.npy"
    _npy_header(path, (side, side), "<f8")
    with open(path, "r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(struct.pack("<d", 1.0))
    with _peaks() as peaks:
        found = _outcome(path)
    assert isinstance(found, reading.Micrograph) and found.images.shape == (1, side, side)
    assert 2**29 < max(peaks) < 2e9


def _external(data: h5py.Dataset, other: Path) -> None:
    group, name, pixels, kept = data.parent, data.name, data[...], dict(data.attrs)
    other.write_bytes(pixels.tobytes())
    del group[name]
    group.create_dataset(name, pixels.shape, pixels.dtype, external=[(other, 0, h5py.h5f.UNLIMITED)])
    group[name].attrs.update(kept)


def _virtual(data: h5py.Dataset, other: Path) -> None:
    shutil.copy(data.file.filename, other)
    group, name, kept = data.parent, data.name, dict(data.attrs)
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[:] = h5py.VirtualSource(other, name, data.shape)
    del group[name]
    group.create_virtual_dataset(name, layout)
    group[name].attrs.update(kept)


def _linked(data: h5py.Dataset, other: Path) -> None:
    shutil.copy(data.file.filename, other)
    file, group = data.file, data.parent.name
    del file[group]
    file[group] = h5py.ExternalLink(other, group)


def _linked_softly(data: h5py.Dataset, other: Path) -> None:
    shutil.copy(data.file.filename, other)
    file, group = data.file, data.parent.name
    del file[group]
    file["beside"] = h5py.ExternalLink(other, "/")
    file[group] = h5py.SoftLink(f"/beside{group}")


def _through(path: Path, way: Callable[[h5py.Dataset, Path], None], other: Path) -> None:
    """Make the pixels of an HDF5 file those of another file, which is written from them."""
    with h5py.File(path, "a") as file:
        way(file.visititems(lambda name, found: found if name.lower().endswith("/data") else None), other)


@pytest.mark.parametrize("way", [_external, _virtual, _linked, _linked_softly])
@pytest.mark.parametrize("name", ["ncem.emd", "hyperspy.hspy", "velox.emd"])
def test_an_hdf5_file_that_shows_the_bytes_of_another_is_refused(name, way, good, tmp_path):
    path, other = Path(shutil.copy(good[name], tmp_path)), tmp_path / "secret"
    _through(path, way, other)
    assert f"refers to another file ({other})"[:100] in str(_outcome(path))


def test_an_external_file_that_is_a_pipe_keeps_no_one_waiting(good, tmp_path):
    path, other = Path(shutil.copy(good["ncem.emd"], tmp_path)), tmp_path / "pipe"
    _through(path, _external, other)
    other.unlink()
    os.mkfifo(other)
    started = time.monotonic()
    assert "refers to another file" in str(_outcome(path))
    assert time.monotonic() - started < 5


def _ome(path: Path, frame: np.ndarray, own: str, files: dict[str, str]) -> None:
    """An OME-TIFF file of one page that says in which files (UUID: name) the pages of its series are."""
    blocks = "".join(
        f'<TiffData FirstT="{number}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for number, (uuid, name) in enumerate(files.items())
    )
    rows, columns = frame.shape
    text = (
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{own}">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{columns}"'
        f' SizeY="{rows}" SizeC="1" SizeZ="1" SizeT="{len(files)}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{blocks}</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, frame, photometric="minisblack", description=text, metadata=None)


def test_a_tiff_file_that_names_another_is_refused_and_one_that_names_itself_is_not(tmp_path):
    first, second = np.random.default_rng(0).poisson(90, (2, *SIZE)).astype(np.uint16)
    both = {"urn:uuid:1": "a.ome.tif", "urn:uuid:2": "b.ome.tif"}
    _ome(tmp_path / "a.ome.tif", first, "urn:uuid:1", both)
    _ome(tmp_path / "b.ome.tif", second, "urn:uuid:2", both)
    assert "refers to another file (b.ome.tif), but must hold its pixels itself" in str(
        _outcome(tmp_path / "a.ome.tif")
    )
    _ome(tmp_path / "renamed.tif", first, "urn:uuid:1", {"urn:uuid:1": "a.ome.tif"})
    found = _outcome(tmp_path / "renamed.tif")
    assert isinstance(found, reading.Micrograph)
    np.testing.assert_array_equal(found.images, first[None])


def _many_pages(path: Path) -> None:
    """A TIFF file of 300,000 pages, all of the same pixels."""
    tags = (256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64), (279, 4096)
    page = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    first, size = 8 + 4096, len(page) + 4
    chain = b"".join(page + struct.pack("<I", first + number * size) for number in range(1, 300_000))
    path.write_bytes(b"II*\0" + struct.pack("<I", first) + bytes(range(256)) * 16 + chain + page + bytes(4))


def _circular_pages(path: Path) -> None:
    """A TIFF file whose second page is followed by itself."""
    _many_pages(path)
    content = bytearray(path.read_bytes()[: 8 + 4096 + 228])
    content[-4:] = struct.pack("<I", 8 + 4096 + 114)
    path.write_bytes(content)


def _with_groups(path: Path) -> None:
    WRITERS["hyperspy.hspy"](path, np.random.default_rng(0).poisson(90, SIZE).astype(np.uint16), 0.5)
    with h5py.File(path, "a") as file:
        for number in range(30_000):
            file.create_group(f"Experiments/more/original_metadata/{number}")


def _deep(path: Path) -> None:
    WRITERS["ncem.emd"](path, np.random.default_rng(0).poisson(90, SIZE).astype(np.uint16), 0.5)
    with h5py.File(path, "a") as file:
        group: h5py.Group = file
        for _ in range(2000):
            group = group.create_group("a")


def _wordy(path: Path) -> None:
    frame = np.random.default_rng(0).poisson(90, SIZE).astype(np.uint16)
    extra = [(65000, "B", formats.MAXIMUM_METADATA_BYTES, bytes(formats.MAXIMUM_METADATA_BYTES), True)]
    tifffile.imwrite(path, frame, photometric="minisblack", extratags=extra)


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("pages.tif", _many_pages, "more than 4096 pages"),
        ("circle.tif", _circular_pages, "more than 4096 pages"),
        ("wordy.tif", _wordy, "tags of more than 64 MiB"),
        ("groups.hspy", _with_groups, "more than 20000 groups, data sets and attributes"),
        ("deep.emd", _deep, "over 32 groups inside each other"),
    ],
)
def test_a_file_of_too_many_parts_is_refused_at_once(name, write, reason, good, tmp_path):
    write(tmp_path / name)
    _outcome(good["numpy.npy"])  # so that the process runs
    started = time.monotonic()
    assert reason in str(_outcome(tmp_path / name))
    assert time.monotonic() - started < 2


def test_at_least_two_hundred_files_were_tried():
    assert len(OUTCOMES) >= 200
    assert sum(outcome != "loaded" for outcome in OUTCOMES.values()) >= 200
