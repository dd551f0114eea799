"""Every knob of the explorers, defined once: widgets and pages take names, ranges, units and defaults from here.

Defaults are those of `Microscope` and `Detector`; a knob may have a narrower range than its field.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import LARGEST_SIZE_A, SMALLEST_SIZE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.optics import Detector, Microscope

# Each divides the field into an even number of pixels.
PIXEL_SIZES_A = (0.5, 0.64, 0.8, 1.0, 1.28, 1.6, 2.0)
FILM_LABEL = "carbon film under the particle"


class KnobError(NanoshapeError):
    """A value that a knob cannot take; ``knob`` is the name of the knob to blame."""

    def __init__(self, message: str, knob: str):
        super().__init__(message)
        self.knob = knob


class Knob(NamedTuple):
    """One number to turn.

    Attributes
    ----------
    name
        In Python and in JSON, with its unit.
    label, unit, group
        What stands beside it; the group is particle, microscope or camera.
    minimum, maximum, step, default
        Its range and first value; the step of a logarithmic knob is in powers of ten.
    field, scale
        The field of `Microscope` or `Detector` that it sets to ``scale`` times its value; none for a
        knob of the particle and for the defocus, which each image has of its own.
    note
        What it is, where the label does not say it.
    logarithmic
        Whether equal steps are equal factors.
    choices
        The only values it may take, if not all.
    """

    name: str
    label: str
    unit: str
    group: str
    minimum: float
    maximum: float
    step: float
    default: float
    field: str = ""
    scale: float = 1.0
    note: str = ""
    logarithmic: bool = False
    choices: tuple[float, ...] = ()

    @property
    def title(self) -> str:
        """Label and unit, such as ``"defocus [Å]"``."""
        return f"{self.label} [{self.unit}]"


def _of_field(name: str, label: str, unit: str, *limits: float, field: str, scale: float = 1.0, **rest: Any) -> Knob:
    """A knob with the default of its field."""
    model, group = (Microscope, "microscope") if field in Microscope.model_fields else (Detector, "camera")
    return Knob(name, label, unit, group, *limits, model.model_fields[field].default / scale, field, scale, **rest)


_MTF_NOTE = "half width: where the falling part of the camera's transfer is halved; 0.5 is its Nyquist frequency"
_PIXEL_NOTE = "the number of pixels follows, so that the field stays 128 Å"
_ANGLE_NOTE = "semi-angle of the illumination, 1/e half width"
_ALL = (
    Knob("size_A", "size", "Å", "particle", SMALLEST_SIZE_A, LARGEST_SIZE_A, 1, 55, note="sphere of equal volume"),
    Knob("psi_deg", "ψ", "°", "particle", -180, 180, 1, 20, note="turns the image about the beam"),
    Knob("theta_deg", "θ", "°", "particle", 0, 180, 1, 35, note="tilts the particle's z axis away from the beam"),
    Knob("phi_deg", "φ", "°", "particle", -180, 180, 1, 15, note="turns the particle about its own z axis"),
    Knob("defocus_A", "defocus", "Å", "microscope", -300, 300, 5, 80, note="underfocus is positive"),
    _of_field("Cs_um", "Cs", "µm", -50, 50, 1, field="Cs_A", scale=1e4, note="spherical aberration"),
    _of_field("focal_spread_A", "focal spread", "Å", 0, 100, 5, field="focal_spread_A", note="1/e half width"),
    _of_field("convergence_mrad", "convergence", "mrad", 0, 2, 0.05, field="convergence_mrad", note=_ANGLE_NOTE),
    _of_field("dose_e_A2", "dose", "e/Å²", 10, 1e5, 0.1, field="dose_e_A2", logarithmic=True),
    _of_field("mtf_half_width", "MTF width", "1/px", 0.1, 1.0, 0.05, field="mtf_c2", note=_MTF_NOTE),
    _of_field(
        "pixel_size_A", "pixel size", "Å", 0.5, 2.0, 0.01, field="pixel_size_A", note=_PIXEL_NOTE, choices=PIXEL_SIZES_A
    ),
)
KNOBS: dict[str, Knob] = {knob.name: knob for knob in _ALL}
DEFAULTS: dict[str, Any] = {"shape": Shape.TRUNCATED_OCTAHEDRON, "film": True} | {
    name: knob.default for name, knob in KNOBS.items()
}
# What needs a new exit wave; all else only forms a new image.
WAVE_SETTINGS = ("shape", "film", *(name for name, knob in KNOBS.items() if knob.group == "particle"))


def checked(name: str, value: Any) -> Any:
    """A value that a setting may take: a shape by its name as well.

    Raises
    ------
    KnobError
        If there is no such setting, or its value is no number, outside the range, or not one of the choices.
    """
    if name == "shape":
        try:
            return Shape.parse(value)
        except NanoshapeError as error:
            raise KnobError(str(error), name) from None
    if name == "film":
        return bool(value)
    knob = KNOBS.get(name)
    if knob is None:
        raise KnobError(f"{name!r} is not a knob; there are {', '.join(sorted(DEFAULTS))}", name)
    number = isinstance(value, Real) and not isinstance(value, bool) and knob.minimum <= float(value) <= knob.maximum
    if number and (not knob.choices or any(math.isclose(float(value), choice) for choice in knob.choices)):
        return value
    allowed = f"lie between {knob.minimum:g} and {knob.maximum:g}"
    if knob.choices:
        allowed = f"be one of {', '.join(f'{choice:g}' for choice in knob.choices)}"
    raise KnobError(f"{knob.label} is {value} {knob.unit}, but must {allowed} {knob.unit}", name)


def instrument(settings: Mapping[str, Any]) -> tuple[Microscope, Detector]:
    """Microscope and camera as the knobs stand; the field stays 128 Å, so that the pixels follow from their size."""
    fields = {knob.field: knob.scale * settings[name] for name, knob in KNOBS.items() if knob.field}
    optics = {name: fields.pop(name) for name in Microscope.model_fields if name in fields}
    return Microscope(**optics), Detector(**fields, pixels=round(FIELD_A / fields["pixel_size_A"]))


def seen(design: DatasetDesign) -> dict[str, tuple[float, float]]:
    """Least and greatest value of the size, the defocus and every knob of the instrument in a data set."""
    known = design.microscope.model_dump() | design.detector.model_dump()
    values = {knob.name: (known[knob.field] / knob.scale,) * 2 for knob in KNOBS.values() if knob.field}
    return values | {
        name: (min(all_), max(all_)) for name, all_ in (("size_A", design.sizes_A), ("defocus_A", design.defoci_A))
    }
