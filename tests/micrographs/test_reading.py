"""Files of every format come back as they were written; cleaning finds what was put in."""

import os
import signal as signals

import numpy as np
import pytest
import tifffile
from microscope_files import PLAIN_WRITERS, WRITERS, signal, write_dm, write_mrc, write_png, write_ser, write_velox
from scipy import ndimage

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs import reading, sandbox
from nanoshape_lib.micrographs.cleaning import clean, replace_outliers
from nanoshape_lib.particles import shapes
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.simulation.optics import Camera, Microscope


def _counts(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    """Counts that differ in every frame, not square, so that a swapped axis shows."""
    return np.random.default_rng(len(shape)).poisson(100, shape).astype(dtype)


@pytest.mark.parametrize("shape", [(70, 90), (3, 70, 90)])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_back_pixels_order_and_pixel_size(tmp_path, name, shape):
    written = _counts(shape)
    WRITERS[name](tmp_path / name, written, 0.37)
    found = reading.load(tmp_path / name)
    assert found.images.dtype == np.float32
    np.testing.assert_array_equal(found.images, written.reshape(-1, 70, 90))
    assert found.pixel_size_A == pytest.approx(0.37, rel=1e-6)
    assert found.source == "metadata" and found.notes == ()


@pytest.mark.parametrize(("unit", "pixels_per_unit"), [("nm", 20.0), ("micron", 2e4), ("\\u00c5", 2.0)])
@pytest.mark.parametrize("shape", [(70, 90), (3, 70, 90)])
def test_units_of_imagej_are_understood(tmp_path, unit, pixels_per_unit, shape):
    axes = {"unit": unit, "axes": "TYX"[-len(shape) :]}
    resolution = (pixels_per_unit, pixels_per_unit)
    tifffile.imwrite(tmp_path / "a.tif", _counts(shape), imagej=True, resolution=resolution, metadata=axes)
    assert reading.load(tmp_path / "a.tif").pixel_size_A == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("unit", "per_unit", "size_A"),
    [("CENTIMETER", 2e8, 0.5), ("INCH", 2.54e8 / 0.5, 0.5), ("INCH", 72, None), ("NONE", 2e8, None)],
)
def test_the_resolution_of_a_tiff_is_a_pixel_size_unless_it_is_a_printers(tmp_path, unit, per_unit, size_A):
    options = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", _counts((70, 90)), **options)
    assert reading.load(tmp_path / "a.tif").pixel_size_A == (size_A and pytest.approx(size_A, rel=1e-3))


@pytest.mark.parametrize("name", PLAIN_WRITERS)
def test_formats_without_a_pixel_size_say_so_and_take_the_users(tmp_path, name):
    written = _counts((2, 70, 90), "float32")
    PLAIN_WRITERS[name](tmp_path / name, written)
    found = reading.load(tmp_path / name)
    np.testing.assert_array_equal(found.images, written)
    assert (found.pixel_size_A, found.source) == (None, None)
    assert found.notes == (f"{tmp_path / name} does not say how large its pixels are",)
    given = reading.load(tmp_path / name, 0.5)
    assert (given.pixel_size_A, given.source, given.notes) == (0.5, "user", ())


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", ">i2", "uint32", "int64", "uint64", "float16", ">f4", "float64", "longdouble"]
)
def test_integers_and_reals_of_any_width(tmp_path, dtype):
    written = (_counts((70, 90)) % 2 if dtype == "bool" else _counts((70, 90)) % 100).astype(dtype)
    np.save(tmp_path / "a.npy", written)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.npy").images[0], written.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_does_not_matter(tmp_path, order):
    written = np.asarray(_counts((3, 70, 90)), order=order)
    np.save(tmp_path / "a.npy", written)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.npy").images, written)


def test_big_endian_mrc(tmp_path):
    written = _counts((2, 70, 90), "int16")
    write_mrc(tmp_path / "a.mrc", written, 0.5, ">")
    np.testing.assert_array_equal(reading.load(tmp_path / "a.mrc").images, written)


@pytest.mark.parametrize(("depth", "dtype"), [(8, "uint8"), (16, "uint16")])
def test_png_of_8_and_16_bits_and_grey_stored_as_colour(tmp_path, depth, dtype):
    grey = (_counts((70, 90)) * (200 if depth == 16 else 1)).astype(dtype)
    write_png(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(reading.load(tmp_path / "grey.png").images[0], grey)
    if depth == 8:
        write_png(tmp_path / "rgb.png", np.stack([grey] * 3, axis=-1))
        tifffile.imwrite(tmp_path / "rgb.tif", np.stack([grey] * 3, axis=-1), photometric="rgb")
        for name in ("rgb.png", "rgb.tif"):
            np.testing.assert_array_equal(reading.load(tmp_path / name).images[0], grey)


@pytest.mark.parametrize(
    ("unit", "size", "expected_A"),
    [("m", 5e-11, 0.5), ("mm", 5e-8, 0.5), ("µm", 5e-5, 0.5), ("nm", 0.05, 0.5), ("Å", 0.5, 0.5), ("pm", 50, 0.5)],
)
def test_units_of_length(tmp_path, unit, size, expected_A):
    write_dm(tmp_path / "a.dm4", _counts((70, 90)), (size, size), unit)
    write_velox(tmp_path / "a.emd", _counts((70, 90)), size, unit.replace("Å", "angstrom"))
    assert reading.load(tmp_path / "a.emd").pixel_size_A == pytest.approx(expected_A, rel=1e-6)
    assert reading.load(tmp_path / "a.dm4").pixel_size_A == pytest.approx(expected_A, rel=1e-6)


def test_the_users_pixel_size_wins_and_a_disagreement_is_said(tmp_path):
    write_ser(tmp_path / "a.ser", _counts((70, 90)), 0.5e-10)
    near, far = reading.load(tmp_path / "a.ser", 0.52), reading.load(tmp_path / "a.ser", 0.6)
    assert (near.pixel_size_A, near.source, near.notes) == (0.52, "user", ())
    assert far.pixel_size_A == 0.6
    assert far.notes == (f"{tmp_path / 'a.ser'} says that its pixels are 0.5 Å, but 0.6 Å was given",)


def test_the_first_image_of_several_data_sets(tmp_path):
    import h5py
    from rsciio.hspy import file_writer

    spectrum, first, second = signal(_counts((500,))), _counts((70, 90)), _counts((80, 80))
    spectrum["axes"][0]["units"] = "eV"
    for name, dataset in (("a", spectrum), ("b", signal(first)), ("c", signal(second))):
        file_writer(str(tmp_path / f"{name}.hspy"), dataset)
    with h5py.File(tmp_path / "a.hspy", "a") as whole:
        for name in "bc":
            with h5py.File(tmp_path / f"{name}.hspy") as part:
                part.copy(part["Experiments/image"], whole["Experiments"], f"image_{name}")
    found = reading.load(tmp_path / "a.hspy")
    np.testing.assert_array_equal(found.images[0], first)
    assert found.notes == (f"{tmp_path / 'a.hspy'} holds 3 data sets, of which number 2 was read",)


def test_one_process_serves_many_files_and_is_replaced_when_it_is_gone(tmp_path):
    np.save(tmp_path / "a.npy", _counts((70, 90)))
    sandbox.READER.close()
    reading.load(tmp_path / "a.npy")
    first = sandbox.READER._process
    reading.load(tmp_path / "a.npy")
    assert sandbox.READER._process is first
    first.kill()
    first.wait()
    reading.load(tmp_path / "a.npy")
    assert sandbox.READER._process is not first


def test_the_file_that_was_checked_is_the_one_that_is_read(tmp_path, monkeypatch):
    written, other = _counts((70, 90)), _counts((80, 80))
    np.save(tmp_path / "a.npy", written)
    np.save(tmp_path / "b.npy", other)
    ask = sandbox.READER.ask

    def swap_and_ask(*arguments):
        os.replace(tmp_path / "b.npy", tmp_path / "a.npy")
        return ask(*arguments)

    monkeypatch.setattr(sandbox.READER, "ask", swap_and_ask)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.npy").images[0], written)
    assert np.load(tmp_path / "a.npy").shape == other.shape


def test_a_reader_that_hangs_is_stopped(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", _counts((70, 90)))
    reading.load(tmp_path / "a.npy")
    os.kill(sandbox.READER._process.pid, signals.SIGSTOP)
    monkeypatch.setattr(sandbox, "TIME_LIMIT_S", 0.3)
    with pytest.raises(NanoshapeError, match=r"a\.npy cannot be read: the reader took over 0\.3 s"):
        reading.load(tmp_path / "a.npy")
    monkeypatch.undo()
    assert reading.load(tmp_path / "a.npy").images.shape == (1, 70, 90)


@pytest.fixture(scope="module")
def micrograph() -> np.ndarray:
    """Counts of a truncated octahedron on carbon, 0.5 Å pixels, 400 e/Å²."""
    wave = exit_wave(deposit(shapes.build("truncated octahedron", 52), Placement(0)), Microscope(), "fast")
    camera = Camera(pixels=256, pixel_size_A=0.5, dose_e_A2=400)
    return 100 * focal_series(wave, np.array([80.0]), Microscope(), camera)[0]


def test_a_good_image_is_left_alone(micrograph):
    fixed, bright, dark = replace_outliers(micrograph)
    assert (bright, dark) == (0, 0)
    np.testing.assert_array_equal(fixed, micrograph)


def test_spikes_and_dead_pixels_are_found_and_fringes_are_not(micrograph):
    rng = np.random.default_rng(1)
    spoilt, (rows, columns) = micrograph.copy(), rng.integers(1, 255, (2, 60))
    spoilt[rows[:40], columns[:40]] += rng.uniform(5, 50, 40) * micrograph.mean()
    spoilt[rows[40:45], columns[40:45] + 1] += 10 * micrograph.mean()  # beside others, so two pixels are lit at once
    spoilt[rows[45:], columns[45:]] = 0
    wrong = spoilt != micrograph
    fixed, bright, dark = replace_outliers(spoilt)
    changed = fixed != spoilt
    assert not (changed & ~wrong).any()
    assert (changed & wrong & (spoilt > micrograph)).sum() == (spoilt > micrograph).sum() == bright
    assert dark >= 0.8 * (spoilt < micrograph).sum()
    noise = np.std(micrograph - ndimage.gaussian_filter(micrograph, 1))
    assert np.abs(fixed - micrograph)[changed].max() < 6 * noise


@pytest.mark.parametrize("tilt", [(0.2, 0.1), (-0.1, 0.3)])
def test_an_illumination_slope_goes_and_the_particle_stays(micrograph, tilt):
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    cleaned = clean(micrograph * (1 + tilt[0] * y + tilt[1] * x))
    assert cleaned.slope == pytest.approx(2 * sum(map(abs, tilt)), rel=0.05)
    assert cleaned.image.mean() == pytest.approx((micrograph * (1 + tilt[0] * y + tilt[1] * x)).mean(), rel=1e-5)
    smooth, wanted = (ndimage.gaussian_filter(a / a.mean(), 6) for a in (cleaned.image, micrograph))
    assert np.std(smooth - wanted) < 0.05 * np.std(wanted)


def test_an_image_that_is_not_in_counts_can_be_cleaned():
    y, _ = np.mgrid[-1:1:200j, -1:1:130j]
    noise = np.random.default_rng(0).normal(0, 1, (200, 130))
    cleaned = clean(noise + 3 * y)
    assert np.std(cleaned.image - noise) < 0.06
    assert "replaced" in cleaned.note
