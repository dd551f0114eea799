"""The explorer's model against the library's own functions, and the widgets' state, without a browser."""

import base64
import io
import re
import threading
from itertools import pairwise

import ipywidgets
import numpy as np
import pytest
import torch
from ipywidgets.embed import embed_data
from PIL import Image

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import build_model
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets import explorer_model
from nanoshape_lib.widgets import live as pictures
from nanoshape_lib.widgets.drawing import as_grey
from nanoshape_lib.widgets.explorer import Explorer, focal_stack
from nanoshape_lib.widgets.explorer_model import (
    Classifier,
    ExplorerModel,
    Particle,
    power_spectrum,
    shipped_classifier,
)
from nanoshape_lib.widgets.knobs import KNOBS, PIXEL_SIZES_A, KnobError
from nanoshape_lib.widgets.parts import STALE

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
def classifier():
    torch.manual_seed(0)
    return Classifier(build_model("cnn4").eval(), temperature=2.0)


@pytest.fixture
def model(classifier):
    return ExplorerModel(classifier, **CUBE)


@pytest.fixture
def waves_computed(monkeypatch):
    """Counts the multislice calculations; waves kept from other tests do not count as computed."""
    calls = []
    explorer_model.simulate.cache_clear()
    original = explorer_model.exit_wave
    monkeypatch.setattr(explorer_model, "exit_wave", lambda *args: calls.append(args) or original(*args))
    return calls


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


def test_less_dose_makes_more_noise_as_counting_statistics_say(model):
    model.change(shape="cube", size_A=30, focal_spread_A=0)
    corner = np.s_[:24, :24]  # vacuum
    noise = []
    for dose in (100.0, 10_000.0):
        model.change(dose_e_A2=dose)
        noise.append(model.image()[corner].std())
    assert noise[0] / noise[1] == pytest.approx(10, rel=0.15)


def test_carbon_film_adds_contrast_beside_the_particle(model):
    model.change(dose_e_A2=1e5)
    corner = np.s_[:24, :24]
    bare = model.image()[corner].std()
    model.change(film=True)
    assert model.image()[corner].std() > 3 * bare


def test_outputs_are_the_softmax_of_logits_over_the_temperature_and_none_without_a_network(model, classifier):
    images = model.series([-50.0, 0.0, 50.0])
    with torch.inference_mode():
        logits = classifier.network(standardise(torch.as_tensor(images))[:, None])
    expected = torch.softmax(logits.double() / 2, dim=1).numpy()
    # bfloat16, where the processor has it, keeps two to three digits.
    np.testing.assert_allclose(model.outputs(images), expected, atol=0.02)
    assert ExplorerModel(**CUBE).outputs(images) is None


def test_shipped_classifier_is_calibrated_and_right_about_an_image_like_its_own():
    shipped = shipped_classifier()
    assert 0.3 < shipped.temperature < 3 and 0 < shipped.calibration_error < 0.05
    model = ExplorerModel(shipped, shape="cube", size_A=60)
    assert model.outputs(model.image()[None])[0].argmax() == Shape.CUBE
    assert model.unlike_training() == []
    model.change(film=False, dose_e_A2=50, defocus_A=-250, pixel_size_A=0.8, size_A=90)
    assert model.unlike_training() == ["carbon film", "size", "defocus", "dose", "pixel size"]


@pytest.mark.parametrize("size_A", PIXEL_SIZES_A)
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
    assert model.outputs(image[None]).sum() == pytest.approx(1, abs=1e-6)


def test_power_spectrum_of_a_wave_has_its_two_spots():
    x = np.arange(64)
    image = 3 + np.cos(2 * np.pi * 5 * x / 64)[:, None] * np.ones(64)
    spectrum = power_spectrum(image)
    brightest = {
        tuple(int(part) for part in np.unravel_index(flat, (64, 64))) for flat in spectrum.ravel().argsort()[-2:]
    }
    assert brightest == {(32 - 5, 32), (32 + 5, 32)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"defocus_A": 1e4}, r"defocus is 10000.0 Å, but must lie between -300 and 300 Å"),
        ({"defocus_A": float("nan")}, r"defocus is nan"),
        ({"size_A": 12}, r"size is 12 Å, but must lie between 30 and 100 Å"),
        ({"shape": "octahedron", "size_A": 100, "psi_deg": 0, "theta_deg": 0, "phi_deg": 0}, r"fit the field of 128 Å"),
        ({"shape": "sphere"}, r"shape is 'sphere', but must be one of 0 \(cube\)"),
        ({"tilt": 1}, r"'tilt' is not a knob"),
        ({"theta_deg": 5, "dose_e_A2": 0}, r"dose is 0 e/Å²"),
        ({"convergence_mrad": 2.5}, r"convergence is 2.5 mrad, but must lie between 0 and 2 mrad"),
        ({"pixel_size_A": 0.9}, r"pixel size is 0.9 Å, but must be one of 0.5, 0.64, 0.8, 1, 1.28, 1.6, 2 Å"),
        ({"size_A": "wide"}, r"size is wide"),
        ({"defocus_A": True}, r"defocus is True"),
    ],
)
def test_bad_value_is_refused_in_one_sentence_and_nothing_changes(model, change, reason):
    before = model.particle, model.imaging, model.simulated
    with pytest.raises(KnobError, match=reason) as caught:
        model.change(**change)
    assert "\n" not in str(caught.value) and caught.value.knob in change
    assert (model.particle, model.imaging) == before[:2] and model.simulated is before[2]


def test_grey_picture_has_the_camera_s_x_to_the_right_and_y_up():
    image = np.zeros((8, 8))
    image[6, 1] = 1.0  # x = 6, y = 1
    grey = as_grey(image)
    assert np.unravel_index(grey.argmax(), grey.shape) == (6, 6)


# ------------------------------------------------------------------ pictures


def test_balls_show_the_nearest_surface_and_the_film():
    from ase import Atoms

    atoms = Atoms("Au2", positions=[[0, 0, -20], [0, 0, 20]], info={"shape": 0})
    scale = pictures.BALL_PIXELS / 128
    view = pictures.balls(atoms, np.eye(3))
    covered = (view < 255).any(axis=2)
    assert covered.sum() == pytest.approx(np.pi * (scale * 2.884 / 2) ** 2, rel=0.15), "one disc of an atom's size"
    np.testing.assert_array_equal(view, pictures.balls(atoms[[1]], np.eye(3)))
    rows, columns = np.nonzero(pictures.balls(atoms[[0]], np.eye(3), film_from_A=32.0).sum(axis=2) == 3 * 217)
    assert rows.max() < pictures.BALL_PIXELS / 4 <= rows.max() + 1 and len(set(columns)) == pictures.BALL_PIXELS


def test_spectrum_marks_the_111_ring_only_inside_the_camera_s_band(model):
    image = model.image()
    assert "ring" in pictures.spectrum_picture(image, 1.0)
    assert "lie beyond" in pictures.spectrum_picture(image, 1.28)


def test_ring_passes_through_the_spots_of_111_planes():
    spacing = 4.078 / np.sqrt(3)
    x = np.arange(128)
    image = np.cos(2 * np.pi * x / spacing)[:, None] * np.ones(128)
    found = re.search(r"base64,([^\"]+)", pictures.spectrum_picture(image, 1.0))[1]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(found)))).astype(int)
    coloured = drawn.max(axis=2) - drawn.min(axis=2) > 50
    column = np.flatnonzero(coloured[len(drawn) // 2 + 1])
    zero = (64 + 0.5) * 3
    radius = 128 / spacing * 3
    assert abs(column.max() - (zero + radius)) < 3 and abs(column.min() - (zero - radius)) < 3


def test_transfer_curve_follows_the_microscope_and_says_the_envelope(model):
    before = pictures.transfer_curve(model)
    model.change(focal_spread_A=100)
    after = pictures.transfer_curve(model)
    share = [int(re.search(r"fallen to (\d+)%", text)[1]) for text in (before, after)]
    lam, q = Microscope().wavelength_A, np.sqrt(3) / 4.078
    focal = [np.exp(-((np.pi * lam * spread / 2 * q**2) ** 2)) for spread in (30, 100)]
    assert share[0] / share[1] == pytest.approx(focal[0] / focal[1], rel=0.05)


# ------------------------------------------------------------------ widgets


@pytest.fixture
def live(classifier):
    return Explorer(classifier, **CUBE)


def turn(live, name, value):
    """Turn a knob and wait until nothing is computed any more."""
    live.controls[name].entry.value = value
    assert live.waves.idle.wait(60)


def shown(live):
    return [view.value for view in live.particle_views], live.image_view.value


def is_stale(live):
    return STALE in live.pictures._dom_classes


def tree(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from tree(child)


def test_every_number_has_a_label_with_its_unit(live):
    numbers = (ipywidgets.FloatText, ipywidgets.Dropdown)
    labels = {widget.description for widget in tree(live) if isinstance(widget, numbers)}
    assert labels == {knob.title for knob in KNOBS.values()} | {"shape"}
    assert live.controls["film"].entry.description


def test_slider_and_number_move_together(live):
    for name, value in (("defocus_A", -100.0), ("dose_e_A2", 250.0), ("convergence_mrad", 0.5)):
        control = live.controls[name]
        control.slider.value = value
        assert control.entry.value == value and getattr(live.model.imaging, name) == value
        control.entry.value = 2 * value
        assert control.slider.value == pytest.approx(2 * value) and getattr(live.model.imaging, name) == 2 * value


def test_turning_a_microscope_knob_leaves_the_particle_s_picture_alone(waves_computed, live):
    particle, image = shown(live)
    curve, spectrum = live.transfer_view.value, live.spectrum_view.value
    computed = len(waves_computed)
    turn(live, "defocus_A", -100)
    assert shown(live)[0] == particle and live.image_view.value != image
    assert live.transfer_view.value != curve and live.spectrum_view.value != spectrum
    assert len(waves_computed) == computed and "−100 Å" in live.image_view.value


def test_turning_a_particle_knob_greys_the_pictures_until_all_are_drawn_anew(live, monkeypatch):
    gate, simulate = threading.Event(), live.model.simulate
    monkeypatch.setattr(live.model, "simulate", lambda wanted: gate.wait(60) and simulate(wanted))
    before = shown(live)
    live.controls["shape"].entry.value = Shape.ICOSAHEDRON
    assert is_stale(live) and "Computing" in live.status.value and "<progress" in live.status.value
    live.controls["defocus_A"].entry.value = -100
    assert is_stale(live) and shown(live)[0] == before[0] and shown(live)[1] != before[1], (
        "the microscope still answers"
    )
    gate.set()
    assert live.waves.idle.wait(60)
    assert not is_stale(live) and "Done" in live.status.value
    after = shown(live)
    assert not set(after[0]) & set(before[0]) and "Icosahedron of" in live.particle_caption.value
    assert live.model.imaging.defocus_A == -100 and live.model.particle.shape is Shape.ICOSAHEDRON


def test_newest_particle_wins(live, monkeypatch):
    gate, simulate, asked = threading.Event(), live.model.simulate, []
    monkeypatch.setattr(
        live.model, "simulate", lambda wanted: (gate.wait(60) and asked.append(wanted.theta_deg)) or simulate(wanted)
    )
    for angle in (1, 2, 3, 4):
        live.controls["theta_deg"].entry.value = angle
    gate.set()
    assert live.waves.idle.wait(60)
    assert live.model.particle.theta_deg == 4 and len(asked) <= 2 and asked[-1] == 4


def test_going_back_before_the_wave_is_there_leaves_the_pictures(live, monkeypatch):
    gate, simulate = threading.Event(), live.model.simulate
    monkeypatch.setattr(live.model, "simulate", lambda wanted: gate.wait(60) and simulate(wanted))
    before = shown(live)
    live.controls["theta_deg"].entry.value = 10
    live.controls["theta_deg"].entry.value = 35
    assert not is_stale(live)
    gate.set()
    assert live.waves.idle.wait(60)
    assert shown(live) == before and live.model.particle.theta_deg == 35 and not is_stale(live)


def test_refused_value_shows_its_reason_beside_the_control_and_keeps_the_pictures(live):
    before = shown(live)
    control = live.controls["dose_e_A2"]
    control.entry.value = 1
    assert "dose is 1.0 e/Å², but must lie between 10 and 100000" in control.reason.value
    assert control.reason.layout.display is None and shown(live) == before
    assert live.model.imaging.dose_e_A2 == KNOBS["dose_e_A2"].default
    control.entry.value = 500
    assert control.reason.value == "" and control.reason.layout.display == "none"
    assert live.model.imaging.dose_e_A2 == 500


def test_particle_that_does_not_fit_is_refused_beside_its_size(classifier):
    live = Explorer(classifier, shape="octahedron", size_A=50, psi_deg=0, theta_deg=0, phi_deg=0, film=False)
    before = shown(live)
    turn(live, "size_A", 100)
    assert "size is 100 Å, but the octahedron must fit the field" in live.controls["size_A"].reason.value
    assert shown(live) == before and not is_stale(live)
    turn(live, "size_A", 60)
    assert "Done" in live.status.value and live.model.particle == Particle(Shape.OCTAHEDRON, 60, 0, 0, 0, False)
    assert live.controls["size_A"].reason.value == ""


def test_outputs_are_written_as_numbers_beside_their_bars(live):
    written = [int(number) for number in re.findall(r">(\d+) %<", live.bars.value)]
    assert len(written) == 5 and sum(written) == pytest.approx(100, abs=2)
    assert all(shape.title in live.bars.value for shape in Shape)
    assert "divided by 2.00" in live.calibration.value


def test_calibration_is_withdrawn_for_images_unlike_those_of_the_training(classifier, tiny_design):
    live = Explorer(classifier._replace(design=tiny_design), shape="cube", size_A=40)
    assert "not learned" not in live.calibration.value
    live.controls["dose_e_A2"].entry.value = 50
    live.controls["pixel_size_A"].entry.value = 2.0
    assert "(dose, pixel size)" in live.calibration.value and "brought to pixels of 1.0 Å" in live.calibration.value


def test_every_picture_is_described(live):
    for view in (*live.particle_views, live.image_view, live.spectrum_view, live.transfer_view):
        described = re.search(r'(?:alt|aria-label)="([^"]+)"', view.value)
        assert described and len(described[1].split()) >= 5, view.value[:200]


def test_focal_stack_links_one_frame_for_each_defocus_in_the_browser(model):
    defoci_A = [-90.0, 0.0, 90.0]
    box = focal_stack(model, defoci_A)
    slider, stack = box.children
    state = embed_data(views=[box])["manager_state"]["state"]
    links = [saved["state"] for saved in state.values() if saved["model_name"] == "LinkModel"]
    ends = [[f"IPY_MODEL_{slider.model_id}", "index"], [f"IPY_MODEL_{stack.model_id}", "selected_index"]]
    assert [[link["source"], link["target"]] for link in links] == [ends]
    assert [label for label, _ in slider.options] == ["−90 Å", "0 Å", "+90 Å"]
    assert len(stack.children) == len(defoci_A) and stack.selected_index == slider.index
    files = [base64.b64decode(re.search(r"base64,([^\"]+)", frame.value)[1]) for frame in stack.children]
    sizes = {Image.open(io.BytesIO(file)).size for file in files}
    assert len(sizes) == 1 and len({frame.value for frame in stack.children}) == 3


def test_focal_stack_refuses_a_single_defocus(model):
    with pytest.raises(NanoshapeError, match="defoci_A has 1 values"):
        focal_stack(model, [0.0])
