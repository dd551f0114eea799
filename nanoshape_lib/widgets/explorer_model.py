"""One particle under one microscope with knobs to turn: the model behind the widgets, without a browser.

Knobs of the particle need a new exit wave; knobs of the microscope only form a new image of the wave that is there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from scipy.special import softmax
from threadpoolctl import ThreadpoolController
from torch import nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import IMAGE_PIXELS, load_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import LARGEST_MISFIT_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A, shake
from nanoshape_lib.paths import data_file
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.widgets.knobs import FILM_DEFAULT, KNOBS, SHAPE_DEFAULT, KnobError, check, schema_values

FIDELITY = "fast"
CARBON_BLOCK = 0

# A single image is too little work to share: on a busy machine, waiting for other threads takes ten times longer.
_THREADS = ThreadpoolController()


@dataclass(frozen=True)
class Particle:
    """What needs a new exit wave: shape, size [Å], Euler angles [degrees] of eq. (2), and the carbon film."""

    shape: Shape = SHAPE_DEFAULT
    size_A: float = KNOBS["size_A"].default
    psi_deg: float = KNOBS["psi_deg"].default
    theta_deg: float = KNOBS["theta_deg"].default
    phi_deg: float = KNOBS["phi_deg"].default
    film: bool = FILM_DEFAULT


@dataclass(frozen=True)
class Imaging:
    """What only forms a new image; see `nanoshape_lib.widgets.knobs` for each."""

    defocus_A: float = KNOBS["defocus_A"].default
    Cs_um: float = KNOBS["Cs_um"].default
    focal_spread_A: float = KNOBS["focal_spread_A"].default
    convergence_mrad: float = KNOBS["convergence_mrad"].default
    dose_e_A2: float = KNOBS["dose_e_A2"].default
    mtf_half_width: float = KNOBS["mtf_half_width"].default
    pixel_size_A: float = KNOBS["pixel_size_A"].default


PARTICLE_NAMES = frozenset(field.name for field in fields(Particle))
IMAGING_NAMES = frozenset(field.name for field in fields(Imaging))


class Classifier(NamedTuple):
    """A network, the temperature that divides its logits, and, if known, what it learned from and how far it is off.

    ``calibration_error`` is that of single test images after scaling, between 0 and 1.
    """

    network: nn.Module
    temperature: float = 1.0
    design: DatasetDesign | None = None
    calibration_error: float | None = None


def shipped_classifier() -> Classifier:
    """The network of six blocks that is shipped, with its temperature.

    Raises
    ------
    NanoshapeError
        If one of its files is missing or changed.
    """
    data_file("weights/cnn6.json")
    network, card = load_weights(data_file("weights/cnn6.safetensors"))
    best, _ = load_results("best")
    single = best[(best["architecture"] == card["architecture"]) & (best["images"] == 1)]
    design = DatasetDesign.model_validate(card["profile"]["dataset"])
    return Classifier(network, card["temperature"], design, float(single["calibration_error_scaled"].iloc[0]))


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
        If there is no such particle or it does not fit the field of 128 Å: a `KnobError` that blames the size.
    """
    try:
        atoms = shapes.build(particle.shape, particle.size_A)
    except NanoshapeError as error:
        raise KnobError(str(error), "size_A") from None
    rotation = orientation.euler(particle.psi_deg, particle.theta_deg, particle.phi_deg)
    turned = atoms.copy()
    turned.positions = turned.positions @ rotation.T
    turned = shake(turned, np.random.default_rng(seed))
    width_A = 2 * np.abs(turned.positions[:, :2]).max()
    if width_A > FIELD_A:
        raise KnobError(
            f"size is {particle.size_A:g} Å, but the {particle.shape.title} must fit the field of {FIELD_A:g} Å"
            f" (turned like this it is {width_A:.0f} Å wide)",
            "size_A",
        )
    scene = deposit(turned, Placement(CARBON_BLOCK) if particle.film else None)
    wave = exit_wave(scene, microscope, FIDELITY)
    return Simulated(atoms, rotation, scene.mid_plane_A if particle.film else None, wave)


def turn_knobs(particle: Particle, imaging: Imaging, settings: dict[str, Any]) -> tuple[Particle, Imaging]:
    """Particle and imaging with some of their fields changed.

    Raises
    ------
    KnobError
        If a name or value is not allowed.
    """
    settings = dict(settings)
    for name, value in settings.items():
        if name not in PARTICLE_NAMES | IMAGING_NAMES:
            known = ", ".join(sorted(PARTICLE_NAMES | IMAGING_NAMES))
            raise KnobError(f"{name!r} is not a knob; there are {known}", name)
        if name in KNOBS:
            check(name, value)
    if "shape" in settings:
        try:
            settings["shape"] = Shape.parse(settings["shape"])
        except NanoshapeError as error:
            raise KnobError(str(error), "shape") from None
    particle = replace(particle, **{name: value for name, value in settings.items() if name in PARTICLE_NAMES})
    return particle, replace(imaging, **{name: value for name, value in settings.items() if name in IMAGING_NAMES})


class ExplorerModel:
    """One particle, one microscope and, if given, one classifier.

    Parameters
    ----------
    classifier
        Without it there are no probabilities.
    microscope, camera
        The instrument; what has a knob is overridden by the knobs.
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
        classifier: Classifier | None = None,
        microscope: Microscope | None = None,
        camera: Camera | None = None,
        seed: int = 0,
        **settings: Any,
    ):
        self.classifier, self.seed = classifier, seed
        self._microscope, self._camera = microscope or Microscope(), camera or Camera()
        self.particle, self.imaging = Particle(), Imaging()
        self.change(**settings)

    def change(self, **settings: Any) -> None:
        """Give some fields of `Particle` and `Imaging` new values, all of them or, on an error, none.

        Raises
        ------
        KnobError
            If a name or value is not allowed, or the particle cannot be made; the state stays as it was.
        """
        particle, imaging = turn_knobs(self.particle, self.imaging, settings)
        self.simulated = self.simulate(particle)
        self.particle, self.imaging = particle, imaging

    def simulate(self, particle: Particle) -> Simulated:
        """Another particle under this microscope, which does not change the model; any thread may call it."""
        return simulate(particle, self._microscope, self.seed)

    @property
    def microscope(self) -> Microscope:
        """The microscope as its knobs stand."""
        return Microscope.model_validate(
            self._microscope.model_dump() | schema_values("microscope", asdict(self.imaging))
        )

    @property
    def camera(self) -> Camera:
        """The camera as its knobs stand."""
        return Camera.model_validate(self._camera.model_dump() | schema_values("camera", asdict(self.imaging)))

    def series(self, defoci_A: Sequence[float]) -> np.ndarray:
        """Images (N, n, n) in units of the incident intensity at N defoci [Å]; n is 128 for pixels of 1.0 Å."""
        with _THREADS.limit(limits=1):
            return focal_series(self.simulated.wave, np.asarray(defoci_A), self.microscope, self.camera, self.seed)

    def image(self) -> np.ndarray:
        """The image (n, n), indexed [x, y], in units of the incident intensity."""
        return self.series([self.imaging.defocus_A])[0]

    def outputs(self, images: np.ndarray) -> np.ndarray | None:
        """The classifier's five probabilities (N, 5) for images (N, n, n), each row summing to one.

        Images of other pixels are brought to the 128 x 128 pixels of 1.0 Å that the network knows: their
        spectrum is cut off or padded with zeros, and nothing is interpolated in between.
        """
        if self.classifier is None:
            return None
        for axis in (1, 2):
            if images.shape[axis] != IMAGE_PIXELS:
                from scipy.signal import resample  # most of a second that other cameras alone need

                images = resample(images, IMAGE_PIXELS, axis=axis)
        with _THREADS.limit(limits=1):
            logits = predict(self.classifier.network, standardise(torch.as_tensor(images)))
        return softmax(logits / self.classifier.temperature, axis=1)

    def unlike_training(self) -> list[str]:
        """Labels of the knobs that stand where the classifier has seen no images."""
        design = self.classifier.design if self.classifier else None
        if design is None:
            return []
        found = [] if self.particle.film else ["carbon film"]
        for name, seen, value in (
            ("size_A", design.sizes_A, self.simulated.atoms.info["size_A"]),
            ("defocus_A", design.defoci_A, self.imaging.defocus_A),
        ):
            if not min(seen) - LARGEST_MISFIT_A <= value <= max(seen) + LARGEST_MISFIT_A:
                found.append(KNOBS[name].label)
        known = design.microscope.model_dump() | design.camera.model_dump()
        now = self.microscope.model_dump() | self.camera.model_dump()
        labels = {knob.field: knob.label for knob in KNOBS.values() if knob.field}
        return found + [label for field, label in labels.items() if not np.isclose(now[field], known[field])]


def power_spectrum(image: np.ndarray) -> np.ndarray:
    """Decadic logarithm of the power spectrum of an image (n, n) without its mean; zero frequency at [n//2, n//2]."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    power[0, 0] = power[0, 1]
    return np.fft.fftshift(np.log10(power + 1e-12))
