"""The explorer's model against the library's own functions, and the widgets' state, without a browser."""

import io
import re

import ipywidgets
import numpy as np
import pytest
import torch
from ipywidgets.embed import embed_data
from PIL import Image

from nanoshape_lib import explorer
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.explorer import KNOBS, ExplorerModel, Particle
from nanoshape_lib.figures.explorer import as_grey
from nanoshape_lib.imaging import focal_series
from nanoshape_lib.microscope import Detector, Microscope
from nanoshape_lib.models import build_model
from nanoshape_lib.shapes import Shape
from nanoshape_lib.widgets import Explorer, focal_stack

CUBE = {"shape": "cube", "size_A": 40, "film": False}
NEW_INSTRUMENTS = {"defocus_A": -40.0, "Cs_um": 10.0, "focal_spread_A": 10.0, "dose_e_A2": 100.0}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("cnn4").eval()


@pytest.fixture
def model(network):
    return ExplorerModel(network, **CUBE)


@pytest.fixture
def waves_computed(monkeypatch):
    """Counts the multislice calculations; waves kept from other tests do not count as computed."""
    calls = []
    explorer.simulate.cache_clear()
    original = explorer.exit_wave
    monkeypatch.setattr(explorer, "exit_wave", lambda *args: calls.append(args) or original(*args))
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
    microscope, detector = Microscope(Cs_A=1e5, focal_spread_A=10), Detector(dose_e_A2=100)
    expected = focal_series(model.simulated.wave, [-40.0], microscope, detector, seed=0)[0]
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


def test_outputs_are_five_probabilities_and_none_without_a_network(model):
    images = model.series([-50.0, 0.0, 50.0])
    assert model.outputs(images).shape == (3, 5)
    np.testing.assert_allclose(model.outputs(images).sum(axis=1), 1, atol=1e-6)
    assert ExplorerModel(**CUBE).outputs(images) is None


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
    ],
)
def test_bad_value_is_refused_in_one_sentence_and_nothing_changes(model, change, reason):
    before = model.particle, model.imaging, model.simulated
    with pytest.raises(NanoshapeError, match=reason) as caught:
        model.change(**change)
    assert "\n" not in str(caught.value)
    assert (model.particle, model.imaging) == before[:2] and model.simulated is before[2]


def test_grey_picture_has_the_camera_s_x_to_the_right_and_y_up():
    image = np.zeros((8, 8))
    image[6, 1] = 1.0  # x = 6, y = 1
    grey = as_grey(image)
    assert np.unravel_index(grey.argmax(), grey.shape) == (6, 6)


# ------------------------------------------------------------------ widgets


@pytest.fixture
def live(network):
    return Explorer(network, **CUBE)


def tree(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from tree(child)


def test_every_number_has_a_label_with_its_unit(live):
    labels = [widget.description for widget in tree(live) if isinstance(widget, ipywidgets.FloatSlider)]
    labels += [widget.description for widget in tree(live) if isinstance(widget, ipywidgets.FloatLogSlider)]
    assert sorted(labels) == sorted(f"{knob.name} [{knob.unit}]" for knob in KNOBS.values())
    assert live.controls["shape"].description and live.controls["film"].description


def test_turning_a_microscope_knob_leaves_the_particle_s_picture_alone(waves_computed, live):
    particle, image = live.particle_view.value, live.image_view.value
    computed = len(waves_computed)
    live.controls["defocus_A"].value = -100
    assert live.particle_view.value == particle and live.image_view.value != image
    assert len(waves_computed) == computed and "−100 Å" in live.image_caption.value


def test_turning_a_particle_knob_draws_everything_anew_and_says_that_it_computes(live):
    said, before = [], (live.particle_view.value, live.image_view.value)
    live.status.observe(lambda change: said.append(change["new"]), "value")
    live.controls["shape"].value = Shape.ICOSAHEDRON
    assert "Computing" in said[0] and "Done" in said[-1]
    assert live.particle_view.value != before[0] and live.image_view.value != before[1]
    assert "Icosahedron of" in live.particle_caption.value


def test_refused_value_shows_its_reason_and_keeps_the_pictures(network):
    live = Explorer(network, shape="octahedron", size_A=50, psi_deg=0, theta_deg=0, phi_deg=0, film=False)
    pictures = live.particle_view.value, live.image_view.value
    live.controls["size_A"].value = 100
    assert "size is 100 Å, but the octahedron must fit the field" in live.status.value
    assert (live.particle_view.value, live.image_view.value) == pictures
    live.controls["size_A"].value = 60
    assert "Done" in live.status.value and live.model.particle == Particle(Shape.OCTAHEDRON, 60, 0, 0, 0, False)


def test_outputs_are_written_as_numbers_beside_their_bars(live):
    shown = [int(number) for number in re.findall(r">(\d+) %<", live.bars.value)]
    assert len(shown) == 5 and sum(shown) == pytest.approx(100, abs=2)
    assert all(shape.title in live.bars.value for shape in Shape)


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
    sizes = {Image.open(io.BytesIO(frame.value)).size for frame in stack.children}
    assert len(sizes) == 1 and len({frame.value for frame in stack.children}) == 3


def test_focal_stack_refuses_a_single_defocus(model):
    with pytest.raises(NanoshapeError, match="defoci_A has 1 values"):
        focal_stack(model, [0.0])
