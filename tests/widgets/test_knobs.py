"""The knobs against the schemas of microscope and camera."""

import pytest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets.knobs import DEFAULTS, KNOBS, PIXEL_SIZES_A, WAVE_SETTINGS, checked, instrument, seen


@pytest.mark.parametrize("knob", KNOBS.values(), ids=list(KNOBS))
def test_knob_agrees_with_its_schema(knob):
    assert knob.minimum <= knob.default <= knob.maximum and knob.step > 0 and DEFAULTS[knob.name] == knob.default
    if not knob.field:
        assert knob.name in WAVE_SETTINGS or knob.name == "defocus_A"
        return
    schema = Microscope if knob.group == "microscope" else Camera
    assert knob.scale * knob.default == pytest.approx(getattr(schema(), knob.field))
    for value in (knob.minimum, knob.maximum):
        accepted = schema.model_validate({knob.field: knob.scale * value})
        assert getattr(accepted, knob.field) == pytest.approx(knob.scale * value)


def test_knobs_at_their_defaults_leave_the_instrument_as_it_is():
    assert instrument(DEFAULTS) == (Microscope(), Camera())


def test_pixel_sizes_give_an_even_number_of_pixels_over_the_whole_field():
    for size_A in PIXEL_SIZES_A:
        _, camera = instrument(DEFAULTS | {"pixel_size_A": size_A})
        assert camera.pixels % 2 == 0 and camera.field_A == pytest.approx(128)


def test_a_data_set_has_seen_its_own_instrument_and_nothing_else(tiny_design):
    ranges = seen(tiny_design.model_copy(update={"sizes_A": (40, 60)}))
    assert ranges["size_A"] == (40, 60) and ranges["defocus_A"] == (-70, 90)
    alone = {name: low for name, (low, high) in ranges.items() if low == high}
    assert alone == {name: pytest.approx(knob.default) for name, knob in KNOBS.items() if knob.field}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("defocus_A", 1e4, r"defocus is 10000.0 Å, but must lie between -300 and 300 Å"),
        ("defocus_A", float("nan"), r"defocus is nan"),
        ("defocus_A", True, r"defocus is True"),
        ("size_A", 12, r"size is 12 Å, but must lie between 30 and 100 Å"),
        ("size_A", "wide", r"size is wide"),
        ("shape", "sphere", r"shape is 'sphere', but must be one of 0 \(cube\)"),
        ("tilt", 1, r"'tilt' is not a knob"),
        ("convergence_mrad", 2.5, r"convergence is 2.5 mrad, but must lie between 0 and 2 mrad"),
        ("pixel_size_A", 0.9, r"pixel size is 0.9 Å, but must be one of 0.5, 0.64, 0.8, 1, 1.28, 1.6, 2 Å"),
    ],
)
def test_bad_value_is_refused_in_one_sentence(name, value, reason):
    with pytest.raises(NanoshapeError, match=reason) as caught:
        checked(name, value)
    assert "\n" not in str(caught.value)


def test_shape_may_be_given_by_its_name():
    assert checked("shape", "icosahedron") is Shape.ICOSAHEDRON
