"""Every knob of the explorers, defined once: widgets and pages take names, ranges, units and defaults from here.

Defaults are those of `Microscope` and `Camera`; a knob may have a narrower range than its field.
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import LARGEST_SIZE_A, SMALLEST_SIZE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.optics import Camera, Microscope

# Each divides the field into an even number of pixels.
PIXEL_SIZES_A = (0.5, 0.64, 0.8, 1.0, 1.28, 1.6, 2.0)
FILM_LABEL = "carbon film under the particle"


class Knob(NamedTuple):
    """One number to turn, with its unit in its name; a logarithmic knob's ``step`` is in powers of ten.

    It sets ``field`` of `Microscope` or `Camera` to ``scale`` times its value; a knob of the particle has no field, nor
    has the defocus, which each image has of its own. ``note`` is what it is, where the label does not say it.
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
    model, group = (Microscope, "microscope") if field in Microscope.model_fields else (Camera, "camera")
    minimum, maximum, step = limits
    default = model.model_fields[field].default / scale
    return Knob(name, label, unit, group, minimum, maximum, step, default, field, scale, **rest)


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
DEFAULTS: dict[str, Any] = {"shape": Shape.TRUNCATED_OCTAHEDRON, **{k.name: k.default for k in _ALL}, "film": True}
# What needs a new exit wave; all else only forms a new image.
WAVE_SETTINGS = ("shape", *(knob.name for knob in _ALL if knob.group == "particle"), "film")


def checked(name: str, value: Any) -> Any:
    """A value that a setting may take, a shape by its name as well; any other is refused in one sentence."""
    if name == "shape":
        return Shape.parse(value)
    if name == "film":
        return bool(value)
    knob = KNOBS.get(name)
    if knob is None:
        raise NanoshapeError(f"{name!r} is not a knob; there are {', '.join(sorted(DEFAULTS))}")
    number = isinstance(value, Real) and not isinstance(value, bool) and knob.minimum <= float(value) <= knob.maximum
    if number and (not knob.choices or any(math.isclose(float(value), choice) for choice in knob.choices)):
        return value
    allowed = f"lie between {knob.minimum:g} and {knob.maximum:g}"
    if knob.choices:
        allowed = f"be one of {', '.join(f'{choice:g}' for choice in knob.choices)}"
    raise NanoshapeError(f"{knob.label} is {value} {knob.unit}, but must {allowed} {knob.unit}")


def instrument(settings: Mapping[str, Any]) -> tuple[Microscope, Camera]:
    """Microscope and camera as the knobs stand; the field stays 128 Å, so that the pixels follow from their size."""
    fields = {knob.field: knob.scale * settings[name] for name, knob in KNOBS.items() if knob.field}
    optics = {name: fields.pop(name) for name in Microscope.model_fields if name in fields}
    return Microscope(**optics), Camera(**fields, pixels=round(FIELD_A / fields["pixel_size_A"]))


def seen(design: DatasetDesign) -> dict[str, tuple[float, float]]:
    """Least and greatest value of the size, the defocus and every knob of the instrument in a data set."""
    known = design.microscope.model_dump() | design.camera.model_dump()
    values = {knob.name: (known[knob.field] / knob.scale,) * 2 for knob in KNOBS.values() if knob.field}
    drawn = {"size_A": design.sizes_A, "defocus_A": design.defoci_A}
    return values | {name: (min(each), max(each)) for name, each in drawn.items()}
