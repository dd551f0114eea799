"""The microscope and its camera: validated parameters, aberrations, coherence, contrast transfer, drawn settings."""

import math
from functools import lru_cache
from typing import Annotated, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import constants

from nanoshape_lib.errors import NanoshapeError

Array = TypeVar("Array", np.ndarray, torch.Tensor)
Range = tuple[float, float]

KERNEL_POINTS = 129
KERNEL_TOLERANCE = 2e-3
BEAM_WEIGHT = 1e6

# Order n and multiplicity m of the aberrations that have an azimuth, by the beginning of their fields' names.
AZIMUTHAL = {"astigmatism": (1, 2), "C21": (2, 1), "C23": (2, 3), "C32": (3, 2), "C34": (3, 4)}


class Lens(BaseModel):
    """Aberrations beside the defocus, and coherence: what acts on the image of an exit wave and not on the wave.

    Aberrations C_nm are in Å and azimuths in degrees, from x towards y, both in the notation of abTEM: ``Cs_A`` is C30,
    positive for an uncorrected lens, ``astigmatism_A`` is C12, then follow coma C21, threefold astigmatism C23,
    star aberration C32 and fourfold astigmatism C34; the defocus is -C10. Widths of the focal spread and of the
    convergence are 1/e half widths of Gaussians, as in abTEM.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    Cs_A: float = Field(-150e3, ge=-5e7, le=5e7)
    focal_spread_A: float = Field(30.0, ge=0.0, le=200.0)
    convergence_mrad: float = Field(0.3, ge=0.0, le=2.0)
    astigmatism_A: float = Field(0.0, ge=0.0, le=500.0)
    astigmatism_deg: float = 0.0
    C21_A: float = Field(0.0, ge=0.0, le=1e5)
    C21_deg: float = 0.0
    C23_A: float = Field(0.0, ge=0.0, le=1e5)
    C23_deg: float = 0.0
    C32_A: float = Field(0.0, ge=0.0, le=1e7)
    C32_deg: float = 0.0
    C34_A: float = Field(0.0, ge=0.0, le=1e7)
    C34_deg: float = 0.0


class Microscope(Lens):
    """The electron-optical side: a lens, the energy and the objective aperture.

    No value here is the paper's: its microscope is not known to us.
    """

    energy_eV: float = Field(200e3, ge=60e3, le=400e3)
    aperture_mrad: float = Field(25.0, gt=0.0, le=30.0)

    @property
    def wavelength_A(self) -> float:
        """Relativistic electron wavelength [Å] (Kirkland 2010, eq. 2.5)."""
        rest_energy_eV = constants.m_e * constants.c**2 / constants.e
        hc_eV_A = constants.h * constants.c / constants.e * 1e10
        return hc_eV_A / np.sqrt(self.energy_eV * (2 * rest_energy_eV + self.energy_eV))

    @property
    def aperture_per_A(self) -> float:
        """Radius of the objective aperture as a spatial frequency [1/Å]."""
        return self.aperture_mrad * 1e-3 / self.wavelength_A

    @property
    def scherzer_defocus_A(self) -> float:
        """Scherzer's defocus [Å], positive for underfocus: sign(Cs) sqrt(abs(Cs) λ) times sqrt(1.5)."""
        return float(np.sign(self.Cs_A) * np.sqrt(1.5 * abs(self.Cs_A) * self.wavelength_A))


class Camera(BaseModel):
    """The camera and the exposure: pixels, dose, modulation transfer function and drift.

    The transfer function of scintillator and read-out, beside the integration over the pixel, is
    ``(1 - mtf_c1) / (1 + (k / (2 mtf_c2))**mtf_c3) + mtf_c1`` with ``k`` in units of the camera's
    Nyquist frequency; it is one at ``k = 0``. ``dose_e_A2=None`` means no noise. The image drifts uniformly by
    ``drift_A``, in the direction ``drift_deg`` from x towards y.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels: int = Field(128, ge=16, le=4096)
    pixel_size_A: float = Field(1.0, gt=0.05, le=10.0)
    dose_e_A2: float | None = Field(1000.0, gt=0.0, le=1e7)
    mtf_c1: float = Field(0.1, ge=0.0, le=1.0)
    mtf_c2: float = Field(0.4, gt=0.0, le=10.0)
    mtf_c3: float = Field(2.0, gt=0.0, le=10.0)
    drift_A: float = Field(0.0, ge=0.0, le=10.0)
    drift_deg: float = 0.0

    @property
    def field_A(self) -> float:
        """Side of the square field of view [Å]."""
        return self.pixels * self.pixel_size_A


class Setting(Lens):
    """How one image is taken: the lens, and what of the camera differs from image to image.

    ``defocus_A`` is positive for underfocus; ``pixel_error`` is the true pixel size over the assumed one, minus one;
    the rest is as in :class:`Camera`.
    """

    defocus_A: float
    pixel_error: float = 0.0
    drift_A: float = 0.0
    drift_deg: float = 0.0
    mtf_c2: float
    dose_e_A2: float | None

    @classmethod
    def nominal(cls, microscope: Microscope, camera: Camera, defocus_A: float = 0.0) -> "Setting":
        """The setting at which nothing differs from a microscope and a camera."""
        known = microscope.model_dump() | camera.model_dump() | {"defocus_A": defocus_A}
        return cls(**{name: known[name] for name in cls.model_fields if name in known})

    def instrument(self, microscope: Microscope, camera: Camera, turned_deg: float = 0.0) -> tuple[Microscope, Camera]:
        """The microscope and the camera with the values of this setting, and their directions turned [degrees]."""
        values, size_A = self.model_dump(), camera.pixel_size_A * (1 + self.pixel_error)
        values |= {name: value + turned_deg for name, value in values.items() if name.endswith("_deg")}
        lens, ours = ({name: values[name] for name in kind.model_fields if name in values} for kind in (Lens, Camera))
        return microscope.model_copy(update=lens), camera.model_copy(update=ours | {"pixel_size_A": size_A})


# Focal spreads are drawn from so many values: the focal modes of each are kept.
SPREADS = 8


class Ranges(BaseModel):
    """Lowest and highest value of each quantity of a :class:`Setting`, in its units, annotated with their limits.

    The dose is drawn uniformly in its logarithm, the focal spread from eight equidistant values, directions
    uniformly, everything else uniformly. None of these values is the paper's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    defocus_A: Annotated[Range, (-1000.0, 1000.0)] = (-300.0, 300.0)
    Cs_A: Annotated[Range, (-5e7, 5e7)] = (-150e3, 150e3)
    focal_spread_A: Annotated[Range, (0.0, 200.0)] = (15.0, 50.0)
    convergence_mrad: Annotated[Range, (0.0, 2.0)] = (0.05, 0.5)
    astigmatism_A: Annotated[Range, (0.0, 500.0)] = (0.0, 75.0)
    pixel_error: Annotated[Range, (-0.1, 0.1)] = (-0.05, 0.05)
    drift_A: Annotated[Range, (0.0, 10.0)] = (0.0, 1.0)
    mtf_c2: Annotated[Range, (0.01, 10.0)] = (0.2, 0.8)
    dose_e_A2: Annotated[Range, (1.0, 1e7)] = (50.0, 5000.0)
    C21_A: Annotated[Range, (0.0, 1e5)] = (0.0, 0.0)
    C23_A: Annotated[Range, (0.0, 1e5)] = (0.0, 0.0)
    C32_A: Annotated[Range, (0.0, 1e7)] = (0.0, 0.0)
    C34_A: Annotated[Range, (0.0, 1e7)] = (0.0, 0.0)

    @model_validator(mode="after")
    def _within_limits(self) -> "Ranges":
        for name, (low, high) in self:
            least, most = LIMITS[name]
            if not least <= low <= high <= most:
                raise ValueError(f"{name} is {low:g} to {high:g}, but must rise and lie between {least:g} and {most:g}")
        return self

    @property
    def drawn(self) -> list[str]:
        """Names of the quantities that vary."""
        return [name for name, (low, high) in self if low < high]

    def narrowed(self, name: str, low: float, high: float) -> "Ranges":
        """The same ranges with one of them replaced."""
        if name not in LIMITS:
            raise NanoshapeError(f"name is {name!r}, but must be one of {', '.join(LIMITS)}")
        return Ranges.model_validate(self.model_dump() | {name: (low, high)})

    def draw(self, rng: np.random.Generator) -> Setting:
        """A setting drawn at random."""
        # Coma and what follows are drawn last and only if they vary: without them the random numbers are the same.
        later = [name for name in AZIMUTHAL if name != "astigmatism"]
        values = {name: rng.uniform(*limits) for name, limits in self if name.removesuffix("_A") not in later}
        values["dose_e_A2"] = float(np.exp(rng.uniform(*np.log(self.dose_e_A2))))
        values["focal_spread_A"] = float(rng.choice(np.linspace(*self.focal_spread_A, SPREADS)))
        values |= {"astigmatism_deg": rng.uniform(0, 180), "drift_deg": rng.uniform(0, 180)}
        for name in later:
            low, high = getattr(self, f"{name}_A")
            if high:
                values |= {f"{name}_A": rng.uniform(low, high), f"{name}_deg": rng.uniform(0, 360)}
        return Setting(**values)


LIMITS: dict[str, Range] = {name: field.metadata[0] for name, field in Ranges.model_fields.items()}
"""What each range must lie within."""


def _azimuthal(lens: Lens) -> list[tuple[int, int, float, complex]]:
    """Order n, multiplicity m, length and ``exp(-i m φ_nm)`` of the aberrations with an azimuth that are not zero."""
    found = []
    for name, (n, m) in AZIMUTHAL.items():
        if length := getattr(lens, f"{name}_A"):
            angle = m * math.radians(getattr(lens, f"{name}_deg"))
            found.append((n, m, length, complex(math.cos(angle), -math.sin(angle))))
    return found


def aberration_function(qx: Array, qy: Array, microscope: Microscope, defocus_A: float | Array = 0.0) -> Array:
    """Aberration function χ [rad]; the wave's spectrum is multiplied by ``exp(-i χ)``.

    ``χ = 2π/λ Σ C_nm α^(n+1) cos(m (φ - φ_nm)) / (n+1)`` with ``α = λ q`` (Kirkland 2010, section 2.4). Spatial
    frequencies [1/Å] and the defocus -C10 [Å], positive for underfocus, broadcast.
    """
    lam = microscope.wavelength_A
    u = (qx * qx + qy * qy) * lam**2
    chi = u * (0.25 * microscope.Cs_A * u - 0.5 * defocus_A)
    for n, m, length, phase in _azimuthal(microscope):
        w = lam * (qx + 1j * qy)
        chi = chi + length / (n + 1) * (phase * w**m).real * u ** ((n + 1 - m) // 2)
    return 2 * np.pi / lam * chi


def aberration_gradient(
    qx: Array, qy: Array, microscope: Microscope, defocus_A: float | Array = 0.0
) -> tuple[Array, Array]:
    """Gradient of :func:`aberration_function` along x and along y [rad Å]."""
    lam = microscope.wavelength_A
    u = (qx * qx + qy * qy) * lam**2
    slope = 2 * np.pi * lam * (microscope.Cs_A * u - defocus_A)
    along_x, along_y = slope * qx, slope * qy
    for n, m, length, phase in _azimuthal(microscope):
        # Twice the derivative by the conjugate of w, real and imaginary part.
        w, power = lam * (qx + 1j * qy), (n + 1 - m) // 2
        part = m * (phase * w ** (m - 1)).conj() * u**power
        if power:
            part = part + 2 * power * (phase * w**m).real * u ** (power - 1) * w
        part = 2 * np.pi * length / (n + 1) * part
        along_x, along_y = along_x + part.real, along_y + part.imag
    return along_x, along_y


def source_envelope(qx: Array, qy: Array, microscope: Microscope, defocus_A: float | Array = 0.0) -> Array:
    """Damping by the convergence θ of the illumination, ``exp(-(θ/2λ)² |∇χ|²)``; arguments as above."""
    along_x, along_y = aberration_gradient(qx, qy, microscope, defocus_A)
    rate = -((microscope.convergence_mrad * 1e-3 / (2 * microscope.wavelength_A)) ** 2)
    damping = rate * (along_x * along_x + along_y * along_y)
    return torch.exp(damping) if isinstance(damping, torch.Tensor) else np.exp(damping)  # type: ignore


def contrast_transfer(q: np.ndarray, defocus_A: float, microscope: Microscope) -> tuple[np.ndarray, np.ndarray]:
    """Contrast transfer function (CTF) of a weak phase object along x, and its coherence envelope.

    The transfer at spatial frequencies q [1/Å] is sin χ times the envelope (Kirkland 2010, section 3.2).
    """
    zero = np.zeros_like(q)
    temporal = (np.pi * microscope.wavelength_A * microscope.focal_spread_A / 2 * q**2) ** 2
    envelope = np.exp(-temporal) * source_envelope(q, zero, microscope, defocus_A)
    return np.sin(aberration_function(q, zero, microscope, defocus_A)) * envelope, envelope


def focal_spread_modes(microscope: Microscope) -> np.ndarray:
    """Coherent systems whose intensities add up to the average over the focal spread.

    A change of focus by f multiplies the wave by ``exp(-iπλ f u)``, ``u = q²``. The average over a Gaussian of 1/e
    width Δ weighs the interference of ``u1`` and ``u2`` by ``K = exp(-(πλΔ (u1 - u2) / 2)²)``. K is smooth inside the
    aperture, hence of low rank: its eigenvectors, scaled by the roots of its eigenvalues, are the systems (the sum of
    coherent systems of optical lithography, N. Cobb 1998). Nearly all of an image is interference with the transmitted
    beam, ``u = 0``, which is therefore given a million times the weight of another point; these weigh as much as matter
    scatters there, about ``(1 + 8 u / u_max)**-2``.

    Returns amplitudes (m, 129) at 129 equidistant ``u`` from 0 to the aperture's edge. What is neglected is below 0.2 %
    of the scattered intensity; the other systems are raised so that no electron is lost at any ``u``.
    """
    return _modes(np.pi * microscope.wavelength_A * microscope.focal_spread_A / 2 * microscope.aperture_per_A**2)


@lru_cache(maxsize=64)
def _modes(width: float) -> np.ndarray:
    u = np.linspace(0.0, 1.0, KERNEL_POINTS)
    scattered = (1 + 8 * u) ** -2
    root = np.sqrt(np.where(u == 0, BEAM_WEIGHT, scattered))
    values, vectors = np.linalg.eigh(np.exp(-((width * (u[:, None] - u)) ** 2)) * root[:, None] * root)
    modes = (vectors * np.sqrt(np.maximum(values, 0.0))).T[::-1] / root
    # The diagonal of K is one: what the first m modes leave of it is the intensity that is lost.
    kept = np.cumsum(modes**2, axis=0)
    modes = modes[: int(np.argmax((1 - kept) @ scattered < KERNEL_TOLERANCE * scattered.sum())) + 1]
    # The first alone takes part in the interference with the beam.
    first, others = modes[0] ** 2, (modes[1:] ** 2).sum(axis=0)
    modes[1:] *= np.sqrt((1 - first).clip(min=0) / np.maximum(others, 1e-9))
    return modes


def intensity_pixels(microscope: Microscope, camera: Camera) -> int:
    """Side of the grid on which the intensity is formed so that nothing aliases into the camera's band.

    The intensity of a wave inside an aperture K has frequencies up to 2K. On a grid with sampling
    frequency S they fold back to S - 2K, which must lie outside what the camera sees: everything up to
    its own sampling frequency 1/pixel. The grid is a whole multiple of the camera's pixels.
    """
    band = 2 * microscope.aperture_per_A + 1 / camera.pixel_size_A
    return camera.pixels * max(2, math.ceil(band * camera.pixel_size_A - 0.01))


def mtf(camera: Camera, frequency_per_A: Array) -> Array:
    """Modulation transfer of scintillator and read-out at a spatial frequency [1/Å]; see :class:`Camera`."""
    k = frequency_per_A * 2 * camera.pixel_size_A
    return (1 - camera.mtf_c1) / (1 + (k / (2 * camera.mtf_c2)) ** camera.mtf_c3) + camera.mtf_c1
