"""Images and probabilities of the page, in a real browser, against the library's, from the same stored waves."""

import base64

import numpy as np
import pytest
import torch
from scipy.special import softmax

from nanoshape_lib.book.page import COARSE_WAVES, WEIGHTS, page_knobs, surface
from nanoshape_lib.book.stored_waves import BLOCK, directions, onto_beam, pack, stored_waves, unpack
from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.figures.microscopy import power_spectrum, wave_maps
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.particles.shapes import GOLD_NEIGHBOUR_DISTANCE_A, Shape, build
from nanoshape_lib.particles.specimen import shake
from nanoshape_lib.simulation.exit_waves import exit_wave, wave_pixels
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import form_images, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope, contrast_transfer, mtf
from nanoshape_lib.widgets.knobs import KNOBS, seen

SETTINGS = 10
IMAGE_TOLERANCE = 1e-4
PROBABILITY_TOLERANCE = 1e-3

START = """async () => {
    const data = await page.loadJson("waves");
    const makeLines = await page.startFourier(await page.loadAsset("fft-wasm"));
    const { wave_pixels: n, camera_pixels: c } = data.optics;
    const former = new page.ImageFormer(makeLines, data.optics);
    Object.assign(page.kept = {}, { data, former, waveLines: makeLines(n, n), imageLines: makeLines(c, c) });
    globalThis.text = values => {
        const bytes = new Uint8Array(Float32Array.from(values).buffer);
        let letters = "";
        for (let i = 0; i < bytes.length; i += 4096) letters += String.fromCharCode(...bytes.subarray(i, i + 4096));
        return btoa(letters);
    };
}"""
FORM = """async ([name, cases]) => {
    const { data, former } = page.kept;
    const wave = page.unpackWave(await page.loadAsset(name), former.u, data.optics.field_A);
    const { classify } = await page.loadClassifier();
    const found = [];
    for (const { turn, mtf_c2, ...settings } of cases) {
        former.setWave(wave.real, wave.imaginary, turn);
        const image = former.form({ ...settings, mtf: { ...data.mtf, c2: mtf_c2 } });
        found.push([text(image), [...(await classify(image))]]);
    }
    return found;
}"""
PANELS = """async ([name, turn, settings, frequencies]) => {
    const { data, former, waveLines, imageLines } = page.kept;
    const wave = page.unpackWave(await page.loadAsset(name), former.u, data.optics.field_A);
    former.setWave(wave.real, wave.imaginary, turn);
    const { phase, amplitude } = page.waveMaps(waveLines, former);
    const image = former.form({ ...settings, mtf: { ...data.mtf, c2: 0.4 } });
    const power = page.powerSpectrum(imageLines, image);
    const curve = frequencies.map(q => page.contrastTransfer(q, settings, data.optics.wavelength_A));
    const camera = frequencies.map(q => page.mtf(q, { ...data.mtf, c2: 0.4 }, 1));
    return { phase: text(phase), amplitude: text(amplitude), image: text(image), power: text(power), curve, camera };
}"""


def array(text: str) -> np.ndarray:
    """A square array as the page sends it."""
    values = np.frombuffer(base64.b64decode(text), np.float32)
    return values.reshape(round(np.sqrt(values.size)), -1)


@pytest.fixture(scope="module")
def tab(browser, page_folder):
    tab = browser.new_page()
    tab.goto((page_folder / "modules.html").as_uri())
    tab.evaluate(START)
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def waves():
    return list(stored_waves(**COARSE_WAVES))


def draw(rng: np.random.Generator) -> dict[str, float]:
    """A random setting of every knob of the page, on the knob's own steps."""
    values = {}
    for knob in page_knobs():
        low, high = (np.log10(knob[end]) if knob["logarithmic"] else knob[end] for end in ("minimum", "maximum"))
        value = low + knob["step"] * rng.integers(round((high - low) / knob["step"]) + 1)
        values[knob["name"]] = float(round(10**value if knob["logarithmic"] else value, 6))
    return values | {"turn": float(rng.integers(-180, 181))}


def instrument(values: dict[str, float]) -> tuple[Microscope, Camera]:
    """Microscope and camera, without noise, as some knobs set them."""
    fields = {knob.field: knob.scale * values[name] for name, knob in KNOBS.items() if name in values and knob.field}
    microscope = {name: value for name, value in fields.items() if name in Microscope.model_fields}
    return Microscope(**microscope), Camera(mtf_c2=fields["mtf_c2"], dose_e_A2=None)


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(Shape))
def test_the_page_forms_the_librarys_images_and_finds_its_probabilities(tab, waves, shape):
    rng = np.random.default_rng(int(shape))
    model, card = load_weights(WEIGHTS)
    wave = [wave for wave in waves if wave.shape is shape][int(shape) % 3]
    settings = [draw(rng) for _ in range(SETTINGS)]
    instruments = [instrument(values) for values in settings]
    cases = [
        {
            "turn": values["turn"],
            "defocus_A": values["defocus_A"],
            "Cs_A": microscope.Cs_A,
            "focal_spread_A": microscope.focal_spread_A,
            "convergence_mrad": microscope.convergence_mrad,
            "mtf_c2": camera.mtf_c2,
        }
        for values, (microscope, camera) in zip(settings, instruments, strict=True)
    ]
    found = tab.evaluate(FORM, [wave.name, cases])
    unpacked = torch.as_tensor(unpack(wave.data, Microscope(), wave_pixels(Microscope())))[None]
    contrasts = []
    for values, (microscope, camera), (image, outputs) in zip(settings, instruments, found, strict=True):
        defocus, turn = torch.tensor([values["defocus_A"]]), torch.tensor([values["turn"]])
        expected = form_images(unpacked, defocus, microscope, camera, turn_deg=turn)
        with torch.inference_mode():
            logits = model(standardise(expected)[:, None]).numpy()[0]
        contrasts.append(float(expected.std()))
        assert np.abs(array(image) - expected[0].numpy()).max() <= IMAGE_TOLERANCE, values
        assert np.abs(np.array(outputs) - softmax(logits / card["temperature"])).max() <= PROBABILITY_TOLERANCE, values
    assert min(contrasts) > 100 * IMAGE_TOLERANCE, "there is nothing to compare"


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 90, -127])
def test_wave_spectrum_and_transfer_are_the_librarys(tab, waves, turn):
    wave, microscope, camera = waves[4], Microscope(), Camera(dose_e_A2=None)
    settings = {name: getattr(microscope, name) for name in ("Cs_A", "focal_spread_A", "convergence_mrad")}
    q = np.linspace(0, microscope.aperture_per_A, 30)
    found = tab.evaluate(PANELS, [wave.name, turn, settings | {"defocus_A": -120.0}, q.tolist()])
    transfer, envelope = contrast_transfer(q, -120.0, microscope)
    assert [point["transfer"] for point in found["curve"]] == pytest.approx(transfer, abs=1e-9)
    assert [point["envelope"] for point in found["curve"]] == pytest.approx(envelope, abs=1e-9)
    assert found["camera"] == pytest.approx(mtf(camera, torch.as_tensor(q)).numpy(), abs=1e-9)

    power = power_spectrum(array(found["image"]).astype(float))
    assert np.abs(10 ** array(found["power"]) - 10**power).max() < 1e-4 * (10**power).max()
    if turn % 90 == 0:
        unpacked = np.rot90(unpack(wave.data, microscope, wave_pixels(microscope)), turn // 90)
        amplitude, phase = wave_maps(unpacked)
        assert array(found["amplitude"]) == pytest.approx(amplitude, abs=1e-4)
        # Where the wave is nearly zero, its phase is not defined.
        difference = np.abs(np.exp(1j * array(found["phase"])) - np.exp(1j * phase)) * amplitude
        assert difference.max() < 1e-4


def test_a_stored_wave_is_the_exit_wave_rounded(waves):
    """The rounding changes images by a percent or two of their contrast, as the page says."""
    wave, microscope = waves[7], Microscope()
    atoms = build(wave.shape, wave.size_A)
    atoms.positions = atoms.positions @ wave.rotation.T
    exact = exit_wave(deposit(shake(atoms, np.random.default_rng(1)), Placement(BLOCK)), microscope, "fast")
    assert pack(exact, microscope) == wave.data
    pair = torch.as_tensor(np.stack([exact, unpack(wave.data, microscope, len(exact))]))
    images = form_images(pair, torch.full((2,), 80.0), microscope, Camera(dose_e_A2=None))
    assert 1e-4 < float((images[1] - images[0]).std() / images[0].std()) < 0.02


def test_directions_fill_the_sector_and_are_brought_onto_the_beam():
    for shape in Shape:
        every = directions(shape, 3)
        assert len(every) == 10
        assert np.linalg.norm(every, axis=1) == pytest.approx(np.ones(10))
        for direction in every:
            rotation = onto_beam(direction)
            assert rotation @ direction == pytest.approx([0, 0, 1], abs=1e-12)
            assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-12) and np.linalg.det(rotation) > 0


@pytest.mark.parametrize("shape", list(Shape))
def test_the_outermost_atoms_are_those_that_lack_neighbours(shape):
    positions = build(shape, 45).positions
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    neighbours = (distances < 1.2 * GOLD_NEIGHBOUR_DISTANCE_A).sum(axis=1) - 1
    expected = positions[neighbours < 12]
    found = surface(shape, 45)
    assert len(found) == len(expected) and (np.sort(found, axis=0) == np.sort(expected, axis=0)).all()


def test_the_first_setting_is_one_that_the_network_has_seen():
    _, card = load_weights(WEIGHTS)
    ranges = seen(DatasetDesign.model_validate(card["profile"]["dataset"]))
    for knob in page_knobs():
        low, high = ranges[knob["name"]]
        assert low <= knob["default"] <= high or knob["default"] == pytest.approx(low), knob["name"]
