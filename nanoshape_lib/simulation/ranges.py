"""Imaging settings drawn from ranges, and the images that a microscope with such settings takes of a wave."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split
from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.simulation.imaging import intensity_pixels, intensity_spectrum, mtf, standardise, turn
from nanoshape_lib.simulation.optics import Camera, Microscope

Range = tuple[float, float]

# What each range must lie within.
LIMITS: dict[str, Range] = {
    "defocus_A": (-1000.0, 1000.0),
    "Cs_A": (-5e7, 5e7),
    "focal_spread_A": (0.0, 200.0),
    "convergence_mrad": (0.0, 2.0),
    "astigmatism_A": (0.0, 500.0),
    "pixel_error": (-0.1, 0.1),
    "drift_A": (0.0, 10.0),
    "mtf_c2": (0.01, 10.0),
    "dose_e_A2": (1.0, 1e7),
}
# Focal spreads are drawn from so many values: the focal modes of each are kept.
SPREADS = 8


class Setting(BaseModel):
    """How one image is taken; what is not named here is as in the data set's design.

    Attributes
    ----------
    defocus_A
        Defocus [Å], positive for underfocus.
    Cs_A, focal_spread_A, convergence_mrad
        As in :class:`~nanoshape_lib.simulation.optics.Microscope`.
    astigmatism_A, astigmatism_deg
        Twofold astigmatism [Å] and its azimuth [degrees], from x towards y: the part
        ``π λ q² A cos 2(φ - φ0)`` of the aberration function (Kirkland 2010, section 2.4).
    pixel_error
        True pixel size over the assumed one, minus one.
    drift_A, drift_deg
        Length [Å] and direction [degrees] of a uniform drift during the exposure.
    mtf_c2, dose_e_A2
        As in :class:`~nanoshape_lib.simulation.optics.Camera`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    defocus_A: float
    Cs_A: float
    focal_spread_A: float
    convergence_mrad: float
    astigmatism_A: float = 0.0
    astigmatism_deg: float = 0.0
    pixel_error: float = 0.0
    drift_A: float = 0.0
    drift_deg: float = 0.0
    mtf_c2: float
    dose_e_A2: float | None


def centre(design: DatasetDesign, defocus_A: float = 0.0) -> Setting:
    """The setting of a data set's design, at one defocus [Å]."""
    microscope, camera = design.microscope, design.camera
    return Setting(
        defocus_A=defocus_A,
        Cs_A=microscope.Cs_A,
        focal_spread_A=microscope.focal_spread_A,
        convergence_mrad=microscope.convergence_mrad,
        mtf_c2=camera.mtf_c2,
        dose_e_A2=camera.dose_e_A2,
    )


class Ranges(BaseModel):
    """Lowest and highest value of each imaging setting; the units are those of :class:`Setting`.

    The dose is drawn uniformly in its logarithm, the focal spread from eight equidistant values, directions
    uniformly, everything else uniformly. None of these values is the paper's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    defocus_A: Range = (-300.0, 300.0)
    Cs_A: Range = (-150e3, 150e3)
    focal_spread_A: Range = (15.0, 50.0)
    convergence_mrad: Range = (0.05, 0.5)
    astigmatism_A: Range = (0.0, 75.0)
    pixel_error: Range = (-0.05, 0.05)
    drift_A: Range = (0.0, 1.0)
    mtf_c2: Range = (0.2, 0.8)
    dose_e_A2: Range = (50.0, 5000.0)

    @model_validator(mode="after")
    def _within_limits(self) -> "Ranges":
        for name, (least, most) in LIMITS.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} is {low:g} to {high:g}, but must rise and lie between {least:g} and {most:g}")
        return self

    def narrowed(self, name: str, low: float, high: float) -> "Ranges":
        """The same ranges with one of them replaced."""
        if name not in LIMITS:
            raise NanoshapeError(f"name is {name!r}, but must be one of {', '.join(LIMITS)}")
        return Ranges.model_validate(self.model_dump() | {name: (low, high)})

    def draw(self, rng: np.random.Generator) -> Setting:
        """A setting drawn at random."""
        values = {name: rng.uniform(*getattr(self, name)) for name in LIMITS}
        values["dose_e_A2"] = float(np.exp(rng.uniform(*np.log(self.dose_e_A2))))
        values["focal_spread_A"] = float(rng.choice(np.linspace(*self.focal_spread_A, SPREADS)))
        return Setting(**values, astigmatism_deg=rng.uniform(0, 180), drift_deg=rng.uniform(0, 180))


def _twofold(qx: Tensor, qy: Tensor, setting: Setting) -> Tensor:
    """``q² A cos 2(φ - φ0)`` [1/Å]."""
    angle = math.radians(2 * setting.astigmatism_deg)
    along = setting.astigmatism_A * math.cos(angle) * (qx * qx - qy * qy)
    return along + 2 * setting.astigmatism_A * math.sin(angle) * qx * qy


def aberrations(qx: Tensor, qy: Tensor, setting: Setting, wavelength_A: float) -> Tensor:
    """Aberration function χ [rad] at spatial frequencies qx and qy [1/Å], of shapes that broadcast.

    ``χ = π λ q² (C1 + A cos 2(φ - φ0) + λ² Cs q² / 2)`` with ``C1 = -defocus`` (Kirkland 2010, section 2.4); the
    wave's spectrum is multiplied by ``exp(-i χ)``.
    """
    u = qx * qx + qy * qy
    round_part = u * (0.5 * wavelength_A**2 * setting.Cs_A * u - setting.defocus_A)
    return math.pi * wavelength_A * (round_part + _twofold(qx, qy, setting))


def _envelope(qx: Tensor, qy: Tensor, setting: Setting, wavelength_A: float) -> Tensor:
    """Factor on the intensity's spectrum: spatial coherence, ``exp(-(θ/2λ)² |∇χ|²)``, and drift.

    With s = C1 + λ² Cs q² the squared gradient is (2πλ)² (q² s² + 2 s q² A cos 2(φ - φ0) + q² A²).
    """
    u = qx * qx + qy * qy
    slope = wavelength_A**2 * setting.Cs_A * u - setting.defocus_A
    squared = u * (slope * slope + setting.astigmatism_A**2) + 2 * slope * _twofold(qx, qy, setting)
    angle = math.radians(setting.drift_deg)
    moved = setting.drift_A * (math.cos(angle) * qx + math.sin(angle) * qy)
    return torch.exp(-((math.pi * 1e-3 * setting.convergence_mrad) ** 2) * squared) * torch.sinc(moved)


def _one_image(
    wave: Tensor, setting: Setting, microscope: Microscope, camera: Camera, generator: torch.Generator | None
) -> Tensor:
    """The image (pixels, pixels) [incident intensity] of one wave."""
    n, wavelength, device = wave.shape[-1], microscope.wavelength_A, wave.device
    q = torch.fft.fftfreq(n, FIELD_A / n, device=device)
    chi = aberrations(q[:, None], q, setting, wavelength)
    seen = torch.fft.ifft2(torch.fft.fft2(wave) * torch.complex(torch.cos(chi), -torch.sin(chi)))
    # All aberrations are in the wave now; what is left is the focal spread, whose modes are kept.
    left = {"Cs_A": 0.0, "convergence_mrad": 0.0, "focal_spread_A": setting.focal_spread_A}
    rest = microscope.model_copy(update=left)
    grid = intensity_pixels(microscope, camera)
    spectrum = intensity_spectrum(seen[None], torch.zeros(1), rest, grid)[0]

    pixel_A = camera.pixel_size_A * (1 + setting.pixel_error)
    camera = camera.model_copy(update={"pixel_size_A": pixel_A, "mtf_c2": setting.mtf_c2})
    # As in imaging.record, detail finer than the sampling frequency is lost.
    kept = math.ceil(FIELD_A / pixel_A)
    index = torch.arange(1 - kept, kept, device=device)
    qx, qy = index[:, None] / FIELD_A, torch.arange(kept, device=device) / FIELD_A
    arriving = spectrum[index % grid, :kept] / grid**2
    arriving = arriving * (_envelope(qx, qy, setting, wavelength) * torch.sinc(qx * pixel_A) * torch.sinc(qy * pixel_A))
    # The other half of the spectrum is its complex conjugate.
    arriving[:, 1:] *= 2
    x = FIELD_A / 2 + (torch.arange(camera.pixels, device=device) - (camera.pixels - 1) / 2) * pixel_A
    rows, columns = _waves_at(x, qx[:, 0]), _waves_at(x, qy).T

    def sampled(part: Tensor) -> Tensor:
        half = rows @ part
        return half.real @ columns.real - half.imag @ columns.imag

    image = sampled(arriving * mtf(camera, torch.hypot(qx, qy)))
    if setting.dose_e_A2 is None:
        return image
    mean_counts = setting.dose_e_A2 * pixel_A**2
    counted = sampled(arriving).clamp(min=0.0)
    noise = torch.poisson(counted * mean_counts, generator=generator) / mean_counts - counted
    fx, fy = (f(camera.pixels, pixel_A, device=device) for f in (torch.fft.fftfreq, torch.fft.rfftfreq))
    return image + torch.fft.irfft2(torch.fft.rfft2(noise) * mtf(camera, torch.hypot(fx[:, None], fy)))


def _waves_at(x: Tensor, q: Tensor) -> Tensor:
    """``exp(2πi q x)``, shape (len(x), len(q))."""
    phase = 2 * torch.pi * x[:, None] * q
    return torch.complex(torch.cos(phase), torch.sin(phase))


def form_at(
    waves: Tensor,
    settings: list[Setting],
    microscope: Microscope,
    camera: Camera,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images of exit waves, each at its own setting.

    A wrong pixel size is a camera whose pixels are longer or shorter than one believes: the intensity,
    known by its Fourier series, is integrated over such pixels, whose centres lie about the field's
    centre. Nothing is interpolated. Beyond the field, longer pixels see up to a few Å of its periodic
    continuation. With :func:`centre` the images are those of :func:`nanoshape_lib.simulation.imaging.form_images`.

    Parameters
    ----------
    waves
        Exit waves (N, n, n), see :func:`nanoshape_lib.simulation.imaging.intensity_spectrum`; their device forms the
        images.
    settings
        One for each image.
    microscope, camera
        What the settings do not name: energy and aperture; pixels, assumed pixel size and the rest of the MTF.
    generator
        Source of the counting noise.

    Returns
    -------
    Tensor
        Images (N, pixels, pixels), float32, in units of the incident intensity.
    """
    each = zip(waves, settings, strict=True)
    return torch.stack([_one_image(wave, setting, microscope, camera, generator) for wave, setting in each])


def make_images_at(
    store: Store,
    split: Split,
    settings: Callable[[int, np.random.Generator], list[Setting]],
    waves: int | None = None,
    turned: bool = False,
    number: int = 0,
) -> ImageSet:
    """Images of the first waves of a split, each wave at the settings that a function gives.

    The random numbers of a wave depend on the design's seed, the split, ``number`` and the wave's index alone.

    Parameters
    ----------
    store
        The exit waves.
    split
        Name of the split.
    settings
        Gives the settings of a wave by its index; always equally many.
    waves
        How many; by default all.
    turned
        Whether each wave is turned in its plane, by -45 to 45 degrees: for training only.
    number
        Another one gives other draws.

    Returns
    -------
    ImageSet
        Its table has the fields of :class:`Setting` beside those of other image sets.

    Raises
    ------
    NanoshapeError
        If more waves are asked for than there are.
    """
    design, table = store.design, store.table(split)
    count = len(table) if waves is None else waves
    if not 0 < count <= len(table):
        raise NanoshapeError(f"waves is {waves}, but must be between 1 and {len(table)}, the {split} waves there are")

    def one(index: int) -> tuple[Tensor, Tensor, list[Setting]]:
        key = (len(SPLITS), len(SPLITS) + 1, SPLITS.index(split), number, index)
        rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=key))
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        chosen = settings(index, rng)
        wave = torch.as_tensor(store.waves(split, index, index + 1))
        if turned:
            wave = turn(wave, torch.tensor([rng.uniform(-45, 45)]))
        images = form_at(wave.expand(len(chosen), -1, -1), chosen, design.microscope, design.camera, generator)
        return standardise(images).half(), images.std(dim=(1, 2)) / images.mean(dim=(1, 2)), chosen

    parts, contrast_parts, chosen = zip(*on_all_cores(one, range(count), f"{split} images"), strict=True)
    images, contrasts = torch.cat(parts), torch.cat(contrast_parts)
    drawn = pd.DataFrame([setting.model_dump() for each in chosen for setting in each])
    rows = table.iloc[np.repeat(np.arange(count), len(images) // count)].reset_index(drop=True)
    return ImageSet(images, pd.concat([rows, drawn.assign(contrast=contrasts.numpy())], axis=1))
