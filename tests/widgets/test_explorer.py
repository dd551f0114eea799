"""The explorer's model against the library's own functions, and the widgets' state, without a browser."""

import asyncio
import base64
import io
import re
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from ipywidgets.embed import embed_data
from PIL import Image

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.microscopy import image_and_answer, power_spectrum
from nanoshape_lib.networks.models import build_model
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets import explorer
from nanoshape_lib.widgets.explorer import STALE, Explorer, ExplorerModel, Latest, focal_stack
from nanoshape_lib.widgets.knobs import KNOBS

CUBE = {"shape": "cube", "size_A": 40, "film": False}
NEW_INSTRUMENTS = {
    "defocus_A": -40.0,
    "Cs_um": 10.0,
    "focal_spread_A": 10.0,
    "convergence_mrad": 2.0,
    "dose_e_A2": 100.0,
    "mtf_half_width": 0.2,
}


@pytest.fixture(scope="module")
def network(tiny_design):
    torch.manual_seed(0)
    card = {"temperature": 2.0, "profile": {"dataset": tiny_design.model_dump(mode="json")}}
    return build_model("cnn4").eval(), card


@pytest.fixture
def model(network):
    return ExplorerModel(network, **CUBE)


@pytest.fixture
def live(network):
    return Explorer(network=network, **CUBE)


@pytest.fixture
def waves_computed(monkeypatch):
    """Counts the multislice calculations; waves kept from other tests do not count as computed."""
    calls = []
    explorer.particle_wave.cache_clear()
    original = explorer.exit_wave
    monkeypatch.setattr(explorer, "exit_wave", lambda *args: calls.append(args) or original(*args))
    return calls


def wait(latest):
    """Return when nothing is worked on any more."""
    latest.pool.submit(int).result(60)


def turn(live, name, value):
    live.controls[name].value = value
    wait(live.waves)


def is_stale(live):
    return STALE in live.pictures._dom_classes


@pytest.mark.parametrize(("name", "value"), NEW_INSTRUMENTS.items())
def test_microscope_knob_forms_a_new_image_of_the_same_wave(waves_computed, model, name, value):
    wave, image = model.simulated.wave, model.image()
    model.change(**{name: value})
    assert model.simulated.wave is wave and len(waves_computed) == 1
    assert np.abs(model.image() - image).max() > 0.01


def test_particle_knob_computes_a_wave_once_and_keeps_it(waves_computed, model):
    first = model.simulated.wave
    model.change(theta_deg=10)
    assert len(waves_computed) == 2 and np.abs(model.simulated.wave - first).max() > 0.1
    model.change(theta_deg=35)
    assert len(waves_computed) == 2 and model.simulated.wave is first


def test_image_is_the_library_s_focal_series(model):
    model.change(**NEW_INSTRUMENTS)
    microscope = Microscope(Cs_A=1e5, focal_spread_A=10, convergence_mrad=2)
    camera = Camera(dose_e_A2=100, mtf_c2=0.2)
    expected = focal_series(model.simulated.wave, [-40.0], microscope, camera, seed=0)[0]
    np.testing.assert_allclose(model.image(), expected, atol=1e-5)


def test_carbon_film_adds_contrast_beside_the_particle(model):
    model.change(dose_e_A2=1e5)
    corner = np.s_[:24, :24]
    bare = model.image()[corner].std()
    model.change(film=True)
    assert model.image()[corner].std() > 3 * bare


def test_probabilities_are_the_softmax_of_logits_over_the_temperature(model, network):
    images = model.series([-50.0, 0.0, 50.0])
    with torch.inference_mode():
        logits = network[0](standardise(torch.as_tensor(images))[:, None])
    expected = torch.softmax(logits.double() / 2, dim=1).numpy()
    # bfloat16, where the processor has it, keeps two to three digits.
    np.testing.assert_allclose(model.probabilities(images), expected, atol=0.02)


def test_shipped_network_is_right_about_an_image_like_its_own_and_knows_what_it_has_not_seen():
    model = ExplorerModel(shape="cube", size_A=60)
    assert model.probabilities(model.image()[None])[0].argmax() == Shape.CUBE
    assert model.unlike_training() == []
    model.change(film=False, dose_e_A2=50, defocus_A=-250, pixel_size_A=0.8, size_A=90)
    assert set(model.unlike_training()) == {"carbon film", "size", "defocus", "dose", "pixel size"}


@pytest.mark.parametrize("size_A", [0.5, 0.8, 2.0])
def test_pixel_size_keeps_the_field_and_the_image(model, size_A):
    model.change(dose_e_A2=1e5, focal_spread_A=30, pixel_size_A=1.0)
    coarse = model.image()
    model.change(pixel_size_A=size_A)
    image = model.image()
    assert image.shape == (round(128 / size_A),) * 2
    # Eight strips across the field: what they have in the mean does not depend on the pixels.
    strips = [part.mean() for part in np.array_split(coarse, 8)]
    edges = np.linspace(0, 128, 9)
    centres = (np.arange(len(image)) + 0.5) * size_A
    found = [image[(centres > low) & (centres < high)].mean() for low, high in pairwise(edges)]
    np.testing.assert_allclose(found, strips, atol=0.012)
    assert model.probabilities(image[None]).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": "octahedron", "size_A": 100, "psi_deg": 0, "theta_deg": 0, "phi_deg": 0}, r"fit the field of 128 Å"),
        ({"theta_deg": 5, "dose_e_A2": 0}, r"dose is 0 e/Å²"),
    ],
)
def test_when_one_value_is_refused_nothing_changes(model, change, reason):
    before = model.settings, model.simulated
    with pytest.raises(NanoshapeError, match=reason):
        model.change(**change)
    assert model.settings == before[0] and model.simulated is before[1]


# ------------------------------------------------------------------ figures


def test_power_spectrum_of_a_wave_has_its_two_spots():
    x = np.arange(64)
    image = 3 + np.cos(2 * np.pi * 5 * x / 64)[:, None] * np.ones(64)
    spectrum = power_spectrum(image)
    brightest = {tuple(map(int, np.unravel_index(flat, (64, 64)))) for flat in spectrum.ravel().argsort()[-2:]}
    assert brightest == {(32 - 5, 32), (32 + 5, 32)}


def test_ring_passes_through_the_spots_of_111_planes_if_the_camera_s_band_holds_them():
    x = np.arange(128)
    image = np.cos(2 * np.pi * x * np.sqrt(3) / 4.078)[:, None] * np.ones(128)
    for pixel_size_A, rings in ((1.0, 1), (1.28, 0)):
        figure = image_and_answer(
            image, np.full(5, 0.2), Shape.CUBE, 0.0, Microscope(), Camera(pixel_size_A=pixel_size_A)
        )
        assert len(figure.axes[1].patches) == rings
        for ring in figure.axes[1].patches:
            brightest = np.unravel_index(power_spectrum(image).argmax(), image.shape)
            assert np.hypot(*(np.subtract(brightest, ring.center))) == pytest.approx(ring.radius, abs=1)


# ------------------------------------------------------------------ widgets


def test_every_entry_has_a_label_with_its_unit_and_the_limits_of_its_knob(live):
    for name, knob in KNOBS.items():
        entry = live.controls[name]
        assert entry.description == knob.title
        if not knob.choices:
            ends = np.log10([knob.minimum, knob.maximum]) if knob.logarithmic else (knob.minimum, knob.maximum)
            assert (entry.min, entry.max) == pytest.approx(tuple(ends))
    assert live.controls["shape"].description == "shape" and "carbon" in live.controls["film"].description


def test_turning_a_microscope_knob_leaves_the_particle_s_picture_alone(waves_computed, live):
    particle, image, computed = live.particle_view.value, live.image_view.value, len(waves_computed)
    turn(live, "defocus_A", -100)
    assert live.particle_view.value == particle and live.image_view.value != image
    assert len(waves_computed) == computed and "defocus −100 Å" in live.image_view.value


def test_turning_a_particle_knob_greys_the_pictures_until_all_are_drawn_anew(live, monkeypatch):
    gate, original = threading.Event(), explorer.particle_wave
    monkeypatch.setattr(explorer, "particle_wave", lambda **wanted: gate.wait(60) and original(**wanted))
    before, image = live.particle_view.value, live.image_view.value
    live.controls["shape"].value = Shape.ICOSAHEDRON
    assert is_stale(live) and "Computing" in live.status.value and "<progress" in live.status.value
    live.controls["defocus_A"].value = -100
    assert is_stale(live) and live.particle_view.value == before
    assert live.image_view.value != image, "the microscope still answers"
    gate.set()
    wait(live.waves)
    assert not is_stale(live) and "Done" in live.status.value
    assert live.particle_view.value != before and "Icosahedron of" in live.particle_view.value
    assert live.model.settings["defocus_A"] == -100 and live.model.settings["shape"] is Shape.ICOSAHEDRON


def test_newest_particle_wins(live, monkeypatch):
    gate, original, asked = threading.Event(), explorer.particle_wave, []

    def slow(**wanted):
        gate.wait(60)
        asked.append(wanted["theta_deg"])
        return original(**wanted)

    monkeypatch.setattr(explorer, "particle_wave", slow)
    for angle in (1, 2, 3, 4):
        live.controls["theta_deg"].value = angle
    gate.set()
    wait(live.waves)
    assert live.model.settings["theta_deg"] == 4 and len(asked) <= 2 and asked[-1] == 4


def test_particle_that_does_not_fit_is_refused_beside_its_size(network):
    live = Explorer(network=network, shape="octahedron", size_A=50, psi_deg=0, theta_deg=0, phi_deg=0, film=False)
    before = live.particle_view.value
    turn(live, "size_A", 100)
    assert "size is 100 Å, but the octahedron" in live.refusal.value and 'role="alert"' in live.refusal.value
    assert live.particle_view.value == before and not is_stale(live)
    turn(live, "size_A", 60)
    assert live.refusal.value == "" and live.model.settings["size_A"] == 60 and live.particle_view.value != before


def test_every_picture_is_described_and_the_probabilities_are_said_in_words(live):
    for view in (live.particle_view, live.image_view):
        described = re.search(r'alt="([^"]+)"', view.value)
        assert described and len(described[1].split()) >= 5
    said = [int(number) for number in re.findall(r"(\d+)%", re.search(r'alt="([^"]+)"', live.image_view.value)[1])]
    assert len(said) == 5 and sum(said) == pytest.approx(100, abs=2)
    assert "divided by 2.00" in live.image_view.value


def test_calibration_is_withdrawn_for_images_unlike_those_of_the_training(network):
    live = Explorer(network=network, shape="cube", size_A=40)
    assert "not learned" not in live.image_view.value
    live.controls["dose_e_A2"].value = 50
    live.controls["pixel_size_A"].value = 2.0
    assert "not learned from images like this (dose, pixel size)" in live.image_view.value


def test_focal_stack_links_one_frame_for_each_defocus_in_the_browser(model):
    box = focal_stack(model, [-90.0, 0.0, 90.0])
    slider, stack = box.children
    state = embed_data(views=[box])["manager_state"]["state"]
    links = [saved["state"] for saved in state.values() if saved["model_name"] == "LinkModel"]
    ends = [[f"IPY_MODEL_{slider.model_id}", "index"], [f"IPY_MODEL_{stack.model_id}", "selected_index"]]
    assert [[link["source"], link["target"]] for link in links] == [ends]
    assert list(slider.options) == ["−90 Å", "0 Å", "+90 Å"]
    assert len(stack.children) == 3 and stack.selected_index == slider.index
    files = [base64.b64decode(re.search(r"base64,([^\"]+)", frame.value)[1]) for frame in stack.children]
    assert len({Image.open(io.BytesIO(file)).size for file in files}) == 1 and len(set(files)) == 3


def test_focal_stack_refuses_a_single_defocus(model):
    with pytest.raises(NanoshapeError, match="defoci_A has 1 values"):
        focal_stack(model, [0.0])


# ------------------------------------------------------------------ background


def test_of_many_requests_the_first_is_begun_and_the_newest_answered():
    begun, gate, worked, got = threading.Event(), threading.Event(), [], []

    def work(number):
        worked.append(number)
        begun.set()
        gate.wait(10)
        return number**2

    latest = Latest(work, lambda request, answer: got.append((request, answer)))
    latest.ask(1)
    assert begun.wait(10)
    for number in range(2, 6):
        latest.ask(number)
    gate.set()
    wait(latest)
    assert got == [(5, 25)] and worked == [1, 5]


def test_what_the_work_raises_is_delivered():
    got = []
    latest = Latest(lambda request: 1 / request, lambda request, answer: got.append(answer))
    latest.ask(0)
    wait(latest)
    assert isinstance(got[0], ZeroDivisionError)


def test_answers_come_in_the_thread_of_the_event_loop_which_stays_free():
    async def scene():
        gate, done, threads, ticks = threading.Event(), asyncio.Event(), [], 0

        def deliver(request, answer):
            threads.append(threading.current_thread())
            done.set()

        latest = Latest(lambda request: gate.wait(10), deliver)
        latest.ask(1)
        for _ in range(20):
            await asyncio.sleep(0)
            ticks += 1
        assert not done.is_set() and ticks == 20
        gate.set()
        await asyncio.wait_for(done.wait(), 10)
        return threads

    assert asyncio.run(scene()) == [threading.current_thread()]
