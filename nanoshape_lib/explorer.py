"""One particle under one microscope with knobs to turn: the model behind the widgets, without a browser.

Knobs of the particle need a new exit wave; knobs of the microscope only form a new image of the wave that is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from scipy.special import softmax
from threadpoolctl import ThreadpoolController
from torch import nn

from nanoshape_lib import rotations, shapes
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.hrtem import exit_wave, shake
from nanoshape_lib.imaging import focal_series, standardise
from nanoshape_lib.microscope import Detector, Microscope
from nanoshape_lib.shapes import Shape
from nanoshape_lib.substrate import FIELD_A, Placement, deposit
from nanoshape_lib.training import predict

FIDELITY = "fast"
CARBON_BLOCK = 0

# A single image is too little work to share: on a busy machine, waiting for other threads takes ten times longer.
_THREADS = ThreadpoolController()


@dataclass(frozen=True)
class Particle:
    """What needs a new exit wave: shape, size [Å], Euler angles [degrees] of eq. (2), and the carbon film."""

    shape: Shape = Shape.TRUNCATED_OCTAHEDRON
    size_A: float = 55.0
    psi_deg: float = 20.0
    theta_deg: float = 35.0
    phi_deg: float = 15.0
    film: bool = True


@dataclass(frozen=True)
class Imaging:
    """What only forms a new image: focus, coherence, and the camera's dose and half-width of its transfer function."""

    defocus_A: float = 80.0
    Cs_um: float = Microscope().Cs_A / 1e4
    focal_spread_A: float = Microscope().focal_spread_A
    convergence_mrad: float = Microscope().convergence_mrad
    mtf_c2: float = Detector().mtf_c2
    dose_e_A2: float = 1000.0


class Knob(NamedTuple):
    """Name, unit, range and step of one number; ``logarithmic`` steps are in powers of ten."""

    name: str
    unit: str
    minimum: float
    maximum: float
    step: float
    logarithmic: bool = False


KNOBS: dict[str, Knob] = {
    "size_A": Knob("size", "Å", 30, 100, 1),
    "psi_deg": Knob("ψ", "°", -180, 180, 1),
    "theta_deg": Knob("θ", "°", 0, 180, 1),
    "phi_deg": Knob("φ", "°", -180, 180, 1),
    "defocus_A": Knob("defocus", "Å", -300, 300, 5),
    "Cs_um": Knob("Cs", "µm", -50, 50, 1),
    "focal_spread_A": Knob("focal spread", "Å", 0, 100, 5),
    "convergence_mrad": Knob("convergence", "mrad", 0, 1, 0.05),
    "mtf_c2": Knob("camera's transfer, half-width", "Nyquist", 0.1, 2, 0.05),
    "dose_e_A2": Knob("dose", "e/Å²", 10, 1e5, 0.1, logarithmic=True),
}
PARTICLE_NAMES = frozenset(field.name for field in fields(Particle))
IMAGING_NAMES = frozenset(field.name for field in fields(Imaging))


class Simulated(NamedTuple):
    """A particle at rest, how it is turned, where the film ends below its middle [Å], and its exit wave."""

    atoms: Atoms
    rotation: np.ndarray
    film_below_A: float | None
    wave: np.ndarray


@lru_cache(maxsize=64)
def simulate(particle: Particle, microscope: Microscope, seed: int) -> Simulated:
    """Exit wave of one particle in the middle of the field, kept for the next time it is asked for.

    Parameters
    ----------
    particle
        The particle and whether it lies on carbon.
    microscope
        Its energy and aperture are used.
    seed
        Of the thermal displacements.

    Raises
    ------
    NanoshapeError
        If there is no such particle or it does not fit the field of 128 Å.
    """
    atoms = shapes.build(particle.shape, particle.size_A)
    rotation = rotations.euler(particle.psi_deg, particle.theta_deg, particle.phi_deg)
    turned = atoms.copy()
    turned.positions = turned.positions @ rotation.T
    turned = shake(turned, np.random.default_rng(seed))
    width_A = 2 * np.abs(turned.positions[:, :2]).max()
    if width_A > FIELD_A:
        raise NanoshapeError(
            f"size is {particle.size_A:g} Å, but the {particle.shape.title} must fit the field of {FIELD_A:g} Å"
            f" (turned like this it is {width_A:.0f} Å wide)"
        )
    scene = deposit(turned, Placement(CARBON_BLOCK) if particle.film else None)
    wave = exit_wave(scene, microscope, FIDELITY)
    return Simulated(atoms, rotation, scene.mid_plane_A if particle.film else None, wave)


class ExplorerModel:
    """One particle, one microscope and, if given, one classifier.

    Parameters
    ----------
    network
        Network with five outputs; without it there are no outputs.
    microscope, detector
        The instrument; its Cs, focal spread and dose are overridden by the knobs.
    seed
        Of the thermal displacements and of the counting noise.
    **settings
        First values of any fields of `Particle` and `Imaging`.

    Raises
    ------
    NanoshapeError
        As for `change`.

    Examples
    --------
    >>> model = ExplorerModel(shape="cube", size_A=40, film=False)
    >>> model.change(defocus_A=-80)
    >>> model.image().shape
    (128, 128)
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        microscope: Microscope | None = None,
        detector: Detector | None = None,
        seed: int = 0,
        **settings: Any,
    ):
        self.network, self.seed = network, seed
        self._microscope, self._detector = microscope or Microscope(), detector or Detector()
        self.particle, self.imaging = Particle(), Imaging()
        self.change(**settings)

    def change(self, **settings: Any) -> None:
        """Give some fields of `Particle` and `Imaging` new values, all of them or, on an error, none.

        Raises
        ------
        NanoshapeError
            If a name or value is not allowed, or the particle cannot be made; the state stays as it was.
        """
        for name, value in settings.items():
            _check(name, value)
        if "shape" in settings:
            settings["shape"] = Shape.parse(settings["shape"])
        particle = replace(self.particle, **{k: v for k, v in settings.items() if k in PARTICLE_NAMES})
        imaging = replace(self.imaging, **{k: v for k, v in settings.items() if k in IMAGING_NAMES})
        self.simulated = simulate(particle, self._microscope, self.seed)
        self.particle, self.imaging = particle, imaging

    @property
    def microscope(self) -> Microscope:
        """The microscope as its knobs stand."""
        knobs = {"Cs_A": 1e4 * self.imaging.Cs_um} | {
            name: getattr(self.imaging, name) for name in ("focal_spread_A", "convergence_mrad")
        }
        return Microscope.model_validate(self._microscope.model_dump() | knobs)

    @property
    def detector(self) -> Detector:
        """The camera as its knobs stand."""
        knobs = {name: getattr(self.imaging, name) for name in ("dose_e_A2", "mtf_c2")}
        return Detector.model_validate(self._detector.model_dump() | knobs)

    def series(self, defoci_A: Sequence[float]) -> np.ndarray:
        """Images (N, 128, 128) in units of the incident intensity at N defoci [Å]."""
        with _THREADS.limit(limits=1):
            return focal_series(self.simulated.wave, np.asarray(defoci_A), self.microscope, self.detector, self.seed)

    def image(self) -> np.ndarray:
        """The image (128, 128), indexed [x, y], in units of the incident intensity."""
        return self.series([self.imaging.defocus_A])[0]

    def outputs(self, images: np.ndarray) -> np.ndarray | None:
        """The classifier's five outputs (N, 5) for images (N, 128, 128), each row summing to one."""
        if self.network is None:
            return None
        with _THREADS.limit(limits=1):
            return softmax(predict(self.network, standardise(torch.as_tensor(images))), axis=1)


def _check(name: str, value: Any) -> None:
    """Refuse unknown names and numbers outside their knob's range."""
    if name not in PARTICLE_NAMES | IMAGING_NAMES:
        known = ", ".join(sorted(PARTICLE_NAMES | IMAGING_NAMES))
        raise NanoshapeError(f"{name!r} is not a knob; there are {known}")
    if name in KNOBS:
        knob = KNOBS[name]
        if not isinstance(value, int | float) or not knob.minimum <= value <= knob.maximum:
            raise NanoshapeError(
                f"{knob.name} is {value} {knob.unit}, but must lie between {knob.minimum:g} and"
                f" {knob.maximum:g} {knob.unit}"
            )
