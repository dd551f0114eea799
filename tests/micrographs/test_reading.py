"""Files of every format come back as they were written; cleaning finds what was put in."""

import os
import signal as signals

import numpy as np
import pytest
import tifffile
from microscope_files import (
    PLAIN_WRITERS,
    WRITERS,
    signal,
    write_dm,
    write_mrc,
    write_ncem,
    write_png,
    write_ser,
    write_velox,
)
from rsciio.hspy import file_writer
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


@pytest.mark.parametrize(
    ("unit", "pixels_per_unit"),
    [
        ("nm", 20.0),
        ("micron", 2e4),
        ("\\u00c5", 2.0),
        ("\\u00C5", 2.0),
        ("\\u00B5m", 2e4),
        ("\\u00b5m", 2e4),
        ("um", 2e4),
        ("inch", 5.08e8),
    ],
)
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


@pytest.mark.parametrize(
    ("dtype", "imod"), [("int8", None), ("uint8", None), ("int8", 1), ("uint8", 0), ("int8", 5), ("uint8", 4)]
)
@pytest.mark.parametrize("byteorder", "<>")
def test_bytes_of_mrc_have_a_sign_unless_the_file_says_otherwise(tmp_path, dtype, imod, byteorder):
    written = np.clip(_counts((2, 70, 90), "float64") - (100 if dtype == "int8" else -80), -128, 255).astype(dtype)
    write_mrc(tmp_path / "a.mrc", written, 0.5, byteorder, imod)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.mrc").images, written.astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_an_mrc_without_cell_and_sampling_has_no_pixel_size(tmp_path, dtype):
    write_mrc(tmp_path / "a.mrc", _counts((70, 90), dtype), 0)
    found = reading.load(tmp_path / "a.mrc")
    assert found.pixel_size_A is None and "does not say how large its pixels are" in found.notes[0]
    given = reading.load(tmp_path / "a.mrc", 0.5)
    assert given.pixel_size_A == 0.5 and given.notes == ()


@pytest.mark.parametrize("names", ["tyx", ""])
@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("unit", ["[n_m]", "n_m", "[nm]"])
@pytest.mark.parametrize("shape", [(5, 70, 90), (100, 70, 90), (70, 90)])
def test_axes_of_ncems_emd_in_either_order(tmp_path, shape, unit, rows_first, names):
    if len(shape) == 2 and not names and not rows_first:
        pytest.skip("nothing tells such an image from its mirror image")
    written = _counts(shape)
    write_ncem(tmp_path / "a.emd", written, 0.05, unit, names[-len(shape) :], rows_first)
    found = reading.load(tmp_path / "a.emd")
    np.testing.assert_array_equal(found.images, written.reshape(-1, 70, 90))
    assert found.pixel_size_A == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16"])
@pytest.mark.parametrize("compression", [None, "zlib", "packbits"])
def test_tiff_whose_zero_is_white(tmp_path, dtype, compression):
    written = _counts((70, 90), dtype)
    top = np.iinfo(dtype).max if dtype.startswith("u") else 0
    stored = (top - written.astype(float)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", compression=compression)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.tif").images[0], written)


@pytest.mark.parametrize("scale", [257, 1])
@pytest.mark.parametrize("inverted", [False, True])
def test_grey_palettes_are_looked_up_and_colours_refused(tmp_path, scale, inverted):
    written = _counts((70, 90), "uint8")
    shades = np.arange(256, dtype=np.uint16)[:: -1 if inverted else 1]
    grey = np.stack([shades * scale] * 3)
    stored = 255 - written if inverted else written
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="palette", colormap=grey)
    np.testing.assert_array_equal(reading.load(tmp_path / "a.tif").images[0], written)
    grey[1] = grey[1][::-1]
    tifffile.imwrite(tmp_path / "b.tif", stored, photometric="palette", colormap=grey)
    with pytest.raises(NanoshapeError, match="is a colour image"):
        reading.load(tmp_path / "b.tif")


@pytest.mark.parametrize(("unit", "size"), [("nm", 0.05), ("Å", 0.5), (None, 5e-5), ("µm", 5e-5), ("pm", 50)])
@pytest.mark.parametrize("shape", [(70, 90), (3, 70, 90)])
def test_pixel_sizes_of_ome(tmp_path, unit, size, shape):
    about = {"axes": "TYX"[-len(shape) :], "PhysicalSizeX": size, "PhysicalSizeY": size}
    about |= {f"PhysicalSize{axis}Unit": unit for axis in "XY" if unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", _counts(shape), metadata=about, ome=True)
    found = reading.load(tmp_path / "a.ome.tif")
    assert found.pixel_size_A == pytest.approx(0.5) and len(found.images) == np.prod(shape[:-2], dtype=int)


def _pages(path, *pages):
    with tifffile.TiffWriter(path) as file:
        for page, options in pages:
            file.write(page, **({"photometric": "minisblack"} | options))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", ["screen copy", "screen copy without sizes", "thumbnail", "colours", "small screen"])
def test_of_several_pages_the_data_are_read(tmp_path, other, first):
    written = _counts((70, 90))
    sized = {"resolution": (2e8, 2e8), "resolutionunit": "CENTIMETER"}
    bar = np.stack([written.astype(np.uint8)] * 3, axis=-1)
    bar[-9:-6, 10:50] = 255
    pages = {
        "screen copy": [(bar, {"photometric": "rgb"}), (written.astype(np.uint8), sized)],
        "screen copy without sizes": [(bar, {"photometric": "rgb"}), (written, {})],
        "thumbnail": [(_counts((64, 64)), sized), (np.kron(written, np.ones((2, 2), np.uint16)), sized)],
        "colours": [(_counts((70, 90, 3), "uint8"), {"photometric": "rgb"}), (written, {})],
        "small screen": [(np.kron(bar[..., 0], np.ones((2, 2), np.uint8)), {}), (written, sized)],
    }[other]
    _pages(tmp_path / "a.tif", *(pages if first else pages[::-1]))
    found = reading.load(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.images[0], pages[1][0])
    assert found.notes[0].endswith(f"holds 2 data sets, of which number {2 if first else 1} was read")
    assert found.pixel_size_A == (pytest.approx(0.5) if pages[1][1] else None)


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("shape", [(70, 90), (3, 70, 90)])
def test_images_beside_a_spectrum_image_are_read(tmp_path, version, shape):
    written = _counts(shape)
    write_velox(tmp_path / "a.emd", written, 5e-11, version=version, spectra=True)
    found = reading.load(tmp_path / "a.emd")
    np.testing.assert_array_equal(found.images[0], written.reshape(-1, 70, 90)[0])
    assert found.pixel_size_A == pytest.approx(0.5)


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
    [
        *(("m", 5e-11, 0.5), ("mm", 5e-8, 0.5), ("µm", 5e-5, 0.5), ("\u03bcm", 5e-5, 0.5), ("nm", 0.05, 0.5)),
        *(("\u00c5", 0.5, 0.5), ("A\u030a", 0.5, 0.5), ("\u212b", 0.5, 0.5), ("A", 0.5, 0.5), ("ang", 0.5, 0.5)),
        *(("pm", 50, 0.5), ("nanometer", 0.05, 0.5), ("Nanometers", 0.05, 0.5), ("nanometre", 0.05, 0.5)),
        *(("micron", 5e-5, 0.5), ("NM", 0.05, 0.5), ("inch", 5e-11 / 0.0254, 0.5), ("Angstroms", 0.5, 0.5)),
        *(("nm/pixel", 0.05, 0.5), ("[nm]", 0.05, 0.5)),
    ],
)
def test_units_of_length_in_any_spelling(tmp_path, unit, size, expected_A):
    write_dm(tmp_path / "a.dm4", _counts((70, 90)), (size, size), unit)
    file_writer(str(tmp_path / "a.hspy"), signal(_counts((70, 90)), 10 * size, unit))
    assert reading.load(tmp_path / "a.hspy").pixel_size_A == pytest.approx(expected_A, rel=1e-6)
    assert reading.load(tmp_path / "a.dm4").pixel_size_A == pytest.approx(expected_A, rel=1e-6)
    if unit in ("m", "mm", "µm", "nm", "pm"):
        write_velox(tmp_path / "a.emd", _counts((70, 90)), size, unit)
        assert reading.load(tmp_path / "a.emd").pixel_size_A == pytest.approx(expected_A, rel=1e-6)


def test_the_users_pixel_size_wins_and_a_disagreement_is_said(tmp_path):
    write_ser(tmp_path / "a.ser", _counts((70, 90)), 0.5e-10)
    near, far = reading.load(tmp_path / "a.ser", 0.52), reading.load(tmp_path / "a.ser", 0.6)
    assert (near.pixel_size_A, near.source, near.notes) == (0.52, "user", ())
    assert far.pixel_size_A == 0.6
    assert far.notes == (f"{tmp_path / 'a.ser'} says that its pixels are 0.5 Å, but 0.6 Å was given",)


def test_the_first_image_of_several_data_sets(tmp_path):
    import h5py

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


def test_what_was_noted_of_a_file_stays_when_it_ends_in_an_error(tmp_path):
    blank = np.zeros((70, 90), np.uint8)
    _pages(tmp_path / "a.tif", (np.zeros((64, 64), np.uint8), {}), (blank.astype(np.uint16), {}))
    file_writer(str(tmp_path / "b.hspy"), signal(blank, unit="smoot"))
    np.save(tmp_path / "c.npy", np.where(np.arange(90) > 50, np.nan, np.ones((70, 90))))
    for name, error, notes in (
        ("a.tif", "is constant", ["holds 2 data sets, of which number 2 was read"]),
        ("b.hspy", "is constant", ["gives its pixel size in 'smoot', which is no unit of length"]),
        ("c.npy", "not finite", []),
    ):
        with pytest.raises(NanoshapeError, match=error) as raised:
            reading.load(tmp_path / name)
        assert getattr(raised.value, "__notes__", []) == [f"{tmp_path / name} {note}" for note in notes]


def test_sentences_call_a_file_as_they_are_told_to(tmp_path):
    np.save(tmp_path / "a.npy", _counts((70, 90)))
    found = reading.load(tmp_path / "a.npy", name="a longer name")
    assert found.path == "a longer name" and found.notes == ("a longer name does not say how large its pixels are",)
    np.save(tmp_path / "a.npy", _counts((70,)))
    with pytest.raises(NanoshapeError, match=r"^a longer name holds a spectrum"):
        reading.load(tmp_path / "a.npy", name="a longer name")


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
    """Counts of a truncated octahedron on carbon, 0.5 Å pixels, 800 e/Å²."""
    wave = exit_wave(deposit(shapes.build("truncated octahedron", 52), Placement(0)), Microscope(), "fast")
    camera = Camera(pixels=256, pixel_size_A=0.5, dose_e_A2=800)
    return 200 * focal_series(wave, np.array([80.0]), Microscope(), camera)[0]


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
    assert (cleaned.bright, cleaned.dark) == (0, 0)
