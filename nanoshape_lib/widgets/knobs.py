"""Every knob of the explorers, defined once: widgets and pages take names, ranges, units and defaults from here.

Defaults and outer limits are those of `Microscope` and `Camera`; a knob may have a narrower range than its field.
"""

import math
from numbers import Real
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import LARGEST_SIZE_A, SMALLEST_SIZE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.optics import Camera, Microscope

Group = Literal["particle", "microscope", "camera"]
# Each divides the field into an even number of pixels.
PIXEL_SIZES_A = (0.5, 0.64, 0.8, 1.0, 1.28, 1.6, 2.0)
FILM_LABEL = "carbon film under the particle"
FILM_DEFAULT = True
SHAPE_DEFAULT = Shape.TRUNCATED_OCTAHEDRON


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
        What stands beside it.
    minimum, maximum, step
        Its range; the step of a logarithmic knob is in powers of ten.
    default
        Its first value.
    logarithmic
        Whether equal steps are equal factors.
    choices
        The only values it may take, if not all.
    field, scale
        The field of `Microscope` or `Camera` that it sets to ``scale`` times its value; none for a
        knob of the particle and for the defocus, which each image has of its own.
    note
        What it is, where the label does not say it.
    """

    name: str
    label: str
    unit: str
    group: Group
    minimum: float
    maximum: float
    step: float
    default: float
    logarithmic: bool = False
    choices: tuple[float, ...] = ()
    field: str = ""
    scale: float = 1.0
    note: str = ""

    @property
    def title(self) -> str:
        """Label and unit, such as ``"defocus [Å]"``."""
        return f"{self.label} [{self.unit}]"


SCHEMAS: dict[Group, type[BaseModel]] = {"microscope": Microscope, "camera": Camera}


def _limits(model: type[BaseModel], field: str) -> tuple[float, float]:
    """Smallest and largest value of a field, those that are excluded themselves counted as well."""
    bounds: dict[str, float] = {"low": -math.inf, "high": math.inf}
    for rule in model.model_fields[field].metadata:
        for word, end in (("ge", "low"), ("gt", "low"), ("le", "high"), ("lt", "high")):
            bounds[end] = getattr(rule, word, bounds[end])
    return bounds["low"], bounds["high"]


def _of_field(
    name: str,
    label: str,
    unit: str,
    group: Group,
    field: str,
    step: float,
    minimum: float | None = None,
    maximum: float | None = None,
    scale: float = 1.0,
    **rest: Any,
) -> Knob:
    """A knob for a field: its default is the field's, and so are the ends of its range that are not given."""
    model = SCHEMAS[group]
    low, high = (limit / scale for limit in _limits(model, field))
    minimum, maximum = low if minimum is None else minimum, high if maximum is None else maximum
    if not low <= minimum < maximum <= high:
        raise NanoshapeError(f"{name} is to go from {minimum} to {maximum}, but {field} allows {low} to {high}")
    default = model.model_fields[field].default / scale
    return Knob(name, label, unit, group, minimum, maximum, step, default, field=field, scale=scale, **rest)


_ALL = (
    Knob("size_A", "size", "Å", "particle", SMALLEST_SIZE_A, LARGEST_SIZE_A, 1, 55, note="sphere of equal volume"),
    Knob("psi_deg", "ψ", "°", "particle", -180, 180, 1, 20, note="turns the image about the beam"),
    Knob("theta_deg", "θ", "°", "particle", 0, 180, 1, 35, note="tilts the particle's z axis away from the beam"),
    Knob("phi_deg", "φ", "°", "particle", -180, 180, 1, 15, note="turns the particle about its own z axis"),
    Knob("defocus_A", "defocus", "Å", "microscope", -300, 300, 5, 80, note="underfocus is positive"),
    _of_field("Cs_um", "Cs", "µm", "microscope", "Cs_A", 1, -50, 50, scale=1e4, note="spherical aberration"),
    _of_field("focal_spread_A", "focal spread", "Å", "microscope", "focal_spread_A", 5, 0, 100, note="1/e half width"),
    _of_field(
        "convergence_mrad",
        "convergence",
        "mrad",
        "microscope",
        "convergence_mrad",
        0.05,
        note="semi-angle of the illumination, 1/e half width",
    ),
    _of_field("dose_e_A2", "dose", "e/Å²", "camera", "dose_e_A2", 0.1, 10, 1e5, logarithmic=True),
    _of_field(
        "mtf_half_width",
        "MTF width",
        "1/px",
        "camera",
        "mtf_c2",
        0.05,
        0.1,
        1.0,
        note="half width: where the falling part of the camera's transfer is halved; 0.5 is its Nyquist frequency",
    ),
    _of_field(
        "pixel_size_A",
        "pixel size",
        "Å",
        "camera",
        "pixel_size_A",
        0.01,
        PIXEL_SIZES_A[0],
        PIXEL_SIZES_A[-1],
        choices=PIXEL_SIZES_A,
        note="the number of pixels follows, so that the field stays 128 Å",
    ),
)
KNOBS: dict[str, Knob] = {knob.name: knob for knob in _ALL}


def pixels(pixel_size_A: float) -> int:
    """Pixels along the side of the field of 128 Å."""
    return round(FIELD_A / pixel_size_A)


def check(name: str, value: Any) -> None:
    """Refuse a number that its knob cannot take.

    Raises
    ------
    KnobError
        If it is no number, outside the range, or not one of the choices.
    """
    knob = KNOBS[name]
    known = isinstance(value, Real) and not isinstance(value, bool) and knob.minimum <= float(value) <= knob.maximum
    if knob.choices:
        if not known or not any(math.isclose(float(value), choice) for choice in knob.choices):
            allowed = ", ".join(f"{choice:g}" for choice in knob.choices)
            raise KnobError(f"{knob.label} is {value} {knob.unit}, but must be one of {allowed} {knob.unit}", name)
    elif not known:
        raise KnobError(
            f"{knob.label} is {value} {knob.unit}, but must lie between {knob.minimum:g} and"
            f" {knob.maximum:g} {knob.unit}",
            name,
        )


def schema_values(group: Group, settings: dict[str, float]) -> dict[str, float]:
    """Fields of `Microscope` or of `Camera` as these knobs set them, with the pixel count that follows."""
    chosen = {KNOBS[name]: value for name, value in settings.items() if name in KNOBS}
    fields = {knob.field: knob.scale * value for knob, value in chosen.items() if knob.field and knob.group == group}
    if "pixel_size_A" in fields:
        fields["pixels"] = pixels(fields["pixel_size_A"])
    return fields


def knobs_json() -> dict[str, Any]:
    """Every knob as plain JSON, for a page without a kernel.

    Returns
    -------
    dict
        ``knobs``: a list of the fields of `Knob`; ``shape`` with its ``options`` in the order of the labels, and
        ``film``, each with ``label`` and ``default``; ``field_A``, and ``microscope`` and ``camera``, the
        default of every field of the two schemas, also of those without a knob.
    """
    return {
        "field_A": FIELD_A,
        "shape": {"label": "shape", "options": [shape.title for shape in Shape], "default": int(SHAPE_DEFAULT)},
        "film": {"label": FILM_LABEL, "default": FILM_DEFAULT},
        "knobs": [knob._asdict() | {"choices": list(knob.choices)} for knob in _ALL],
        "microscope": Microscope().model_dump(),
        "camera": Camera().model_dump(),
    }
