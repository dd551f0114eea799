"""The knobs against the schemas of microscope and camera, and what a page is told of them."""

import json

import pytest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets import knobs
from nanoshape_lib.widgets.explorer_model import IMAGING_NAMES, PARTICLE_NAMES, ExplorerModel, Imaging, Particle
from nanoshape_lib.widgets.knobs import KNOBS, PIXEL_SIZES_A, SCHEMAS, knobs_json, pixels


def test_every_knob_has_a_field_and_every_number_a_knob():
    assert set(KNOBS) | {"shape", "film"} == PARTICLE_NAMES | IMAGING_NAMES
    assert {name for name, knob in KNOBS.items() if knob.group == "particle"} | {"shape", "film"} == PARTICLE_NAMES


@pytest.mark.parametrize("knob", KNOBS.values(), ids=list(KNOBS))
def test_knob_agrees_with_its_schema(knob):
    assert knob.minimum <= knob.default <= knob.maximum and knob.step > 0
    assert getattr(Particle() if knob.group == "particle" else Imaging(), knob.name) == knob.default
    if not knob.field:
        assert knob.group == "particle" or knob.name == "defocus_A"
        return
    schema = SCHEMAS[knob.group]
    assert knob.scale * knob.default == getattr(schema(), knob.field)
    for value in (knob.minimum, knob.maximum):
        accepted = schema.model_validate({knob.field: knob.scale * value})
        assert getattr(accepted, knob.field) == pytest.approx(knob.scale * value)


def test_knobs_at_their_defaults_leave_the_instrument_as_it_is():
    model = ExplorerModel(shape="cube", size_A=40, film=False)
    assert model.microscope == Microscope() and model.camera == Camera()


def test_knob_wider_than_its_schema_is_refused():
    with pytest.raises(NanoshapeError, match="but convergence_mrad allows"):
        knobs._of_field("x", "x", "mrad", "microscope", "convergence_mrad", 1, maximum=3)


def test_knobs_as_json_say_the_same():
    text = json.dumps(knobs_json(), allow_nan=False)
    told = json.loads(text)
    assert [knob["name"] for knob in told["knobs"]] == list(KNOBS)
    for knob in told["knobs"]:
        assert knobs.Knob(**knob | {"choices": tuple(knob["choices"])}) == KNOBS[knob["name"]]
    assert told["shape"]["options"][told["shape"]["default"]] == Particle().shape.title
    assert told["microscope"] == Microscope().model_dump() and told["camera"] == Camera().model_dump()


def test_pixel_sizes_give_an_even_number_of_pixels_over_the_whole_field():
    for size_A in PIXEL_SIZES_A:
        assert pixels(size_A) % 2 == 0 and pixels(size_A) * size_A == pytest.approx(128)
