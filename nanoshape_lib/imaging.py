"""Images from exit waves: aberrations, partial coherence, camera, dose. One batched function in torch."""

import math
from functools import lru_cache

import numpy as np
import torch

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.hrtem import next_fast_size
from nanoshape_lib.microscope import Detector, Microscope
from nanoshape_lib.substrate import FIELD_A

KERNEL_TOLERANCE = 1e-4
KERNEL_POINTS = 129


@lru_cache(maxsize=64)
def focal_modes(microscope: Microscope) -> np.ndarray:
    """Coherent systems whose intensities add up to the average over the focal spread.

    A change of focus by f multiplies the wave by ``exp(-iπλ f u)``, ``u = q²``. The average over a
    Gaussian of 1/e width Δ weighs the interference of ``u1`` and ``u2`` by
    ``K = exp(-(πλΔ (u1 - u2) / 2)²)``. K is smooth inside the aperture, hence of low rank: its
    eigenvectors, scaled by the roots of its eigenvalues, are the systems (the sum of coherent systems
    of optical lithography, N. Cobb 1998).

    Returns
    -------
    ndarray
        Amplitudes (m, 129) at 129 equidistant ``u`` from 0 to the aperture's edge. The neglected part
        of the intensity is below 1e-4 everywhere.
    """
    u = np.linspace(0.0, microscope.aperture_per_A**2, KERNEL_POINTS)
    width = np.pi * microscope.wavelength_A * microscope.focal_spread_A / 2
    values, vectors = np.linalg.eigh(np.exp(-((width * (u[:, None] - u)) ** 2)))
    modes = (vectors * np.sqrt(np.maximum(values, 0.0))).T[::-1]
    # The diagonal of K is one: what the first m modes leave of it is the intensity that is lost.
    lost = 1.0 - np.cumsum(modes**2, axis=0).min(axis=1)
    return modes[: int(np.argmax(lost < KERNEL_TOLERANCE)) + 1]


def intensity_pixels(microscope: Microscope, detector: Detector) -> int:
    """Side of the grid on which the intensity is formed so that nothing aliases into the camera's band.

    The intensity of a wave inside an aperture K has frequencies up to 2K. On a grid with sampling
    frequency S they fold back to S - 2K, which must lie outside what the camera sees: everything up to
    its own sampling frequency 1/pixel. The grid is a whole multiple of the camera's pixels.
    """
    band = 2 * microscope.aperture_per_A + 1 / detector.pixel_size_A
    oversampling = max(1, math.ceil(band * detector.pixel_size_A - 0.01))
    return detector.pixels * oversampling


def phase_transfer(q: np.ndarray, defocus_A: float, microscope: Microscope) -> tuple[np.ndarray, np.ndarray]:
    """Contrast transfer of a weak phase object: sin χ under its coherence envelopes (Kirkland 2010, section 3.2).

    Parameters
    ----------
    q
        Spatial frequencies [1/Å].
    defocus_A
        Defocus [Å], positive for underfocus.
    microscope
        Wavelength, Cs, focal spread and convergence are used.

    Returns
    -------
    transfer, envelope
        sin χ times the envelope, and the envelope.
    """
    lam, c1 = microscope.wavelength_A, -defocus_A
    chi = np.pi * lam * q**2 * (c1 + 0.5 * lam**2 * microscope.Cs_A * q**2)
    slope = 2 * np.pi * lam * q * (c1 + lam**2 * microscope.Cs_A * q**2)
    temporal = (np.pi * lam * microscope.focal_spread_A / 2 * q**2) ** 2
    spatial = (microscope.convergence_mrad * 1e-3 / (2 * lam) * slope) ** 2
    envelope = np.exp(-temporal - spatial)
    return np.sin(chi) * envelope, envelope


def _check_field(detector: Detector) -> None:
    if not math.isclose(detector.field_A, FIELD_A):
        raise NanoshapeError(
            f"pixels x pixel_size_A is {detector.field_A:g} Å, but must be the field of the waves, {FIELD_A:g} Å"
        )


def _frequencies(n: int, device: torch.device) -> torch.Tensor:
    return torch.fft.fftfreq(n, FIELD_A / n, device=device)


def intensity_spectrum(
    waves: torch.Tensor, defocus_A: torch.Tensor, microscope: Microscope, pixels: int
) -> torch.Tensor:
    """Spectrum of the partially coherent image intensity, before the camera.

    Temporal coherence is exact (:func:`focal_modes`). Spatial coherence is the factor
    ``exp(-(θ/2λ)² |∇χ(q)|²)`` on the intensity's spectrum, with θ the 1/e half width of the convergence:
    a tilt of the illumination shifts a defocused image without changing it, so this is exact for pure
    defocus and any object, and for any aberration in the limit of weak scattering.

    Parameters
    ----------
    waves
        Exit waves (N, n, n), complex, limited to the aperture, referred to the plane of zero defocus.
    defocus_A
        Defocus (N,) [Å], positive for underfocus.
    microscope
        All its values are used.
    pixels
        Side of the grid on which the intensity is formed.

    Returns
    -------
    Tensor
        Complex spectrum (N, pixels, pixels // 2 + 1), as from ``torch.fft.rfft2``.
    """
    n, device = waves.shape[-1], waves.device
    wavelength = microscope.wavelength_A
    q = _frequencies(n, device)
    u = q[:, None] ** 2 + q**2
    c1 = -defocus_A.to(device, torch.float32)[:, None, None]
    chi = torch.pi * wavelength * u * (c1 + 0.5 * wavelength**2 * microscope.Cs_A * u)
    spectrum = torch.fft.fft2(waves) * torch.polar(torch.ones_like(chi), -chi)

    modes = torch.tensor(focal_modes(microscope).copy(), dtype=torch.float32, device=device)
    position = (u / microscope.aperture_per_A**2 * (KERNEL_POINTS - 1)).clamp(max=KERNEL_POINTS - 1 - 1e-3)
    low = position.long()
    weights = torch.lerp(modes[:, low], modes[:, low + 1], position - low)
    weights = weights * (u <= microscope.aperture_per_A**2)

    index = torch.fft.fftfreq(n, 1 / n, device=device).long() % pixels
    intensity = torch.zeros(len(waves), pixels, pixels, device=device)
    padded = torch.zeros(len(waves), pixels, pixels, dtype=spectrum.dtype, device=device)
    for weight in weights:
        padded[:, index[:, None], index] = spectrum * weight
        intensity += torch.fft.ifft2(padded).abs().square()
    intensity *= (pixels / n) ** 4

    qx, qy = _frequencies(pixels, device)[:, None], torch.fft.rfftfreq(pixels, FIELD_A / pixels, device=device)
    r2 = qx**2 + qy**2
    slope = 2 * torch.pi * wavelength * r2.sqrt() * (c1 + wavelength**2 * microscope.Cs_A * r2)
    blur = torch.exp(-((microscope.convergence_mrad * 1e-3 / (2 * wavelength) * slope) ** 2))
    return torch.fft.rfft2(intensity) * blur


def mtf(detector: Detector, frequency_per_A: torch.Tensor) -> torch.Tensor:
    """Modulation transfer of scintillator and read-out at a spatial frequency [1/Å]; see :class:`Detector`."""
    k = frequency_per_A * 2 * detector.pixel_size_A
    return (1 - detector.mtf_c1) / (1 + (k / (2 * detector.mtf_c2)) ** detector.mtf_c3) + detector.mtf_c1


def record(spectrum: torch.Tensor, detector: Detector, generator: torch.Generator | None = None) -> torch.Tensor:
    """What the camera records: integration over its pixels, counting statistics, then its MTF.

    Parameters
    ----------
    spectrum
        From :func:`intensity_spectrum`.
    detector
        Camera and dose; counts per pixel are Poisson with mean ``dose x pixel area x intensity``.
    generator
        Source of the Poisson noise. With ``detector.dose_e_A2=None`` there is none.

    Returns
    -------
    Tensor
        Images (N, pixels, pixels), float32, in units of the incident intensity.
    """
    _check_field(detector)
    fine, device = spectrum.shape[-2], spectrum.device
    qx, qy = _frequencies(fine, device)[:, None], torch.fft.rfftfreq(fine, FIELD_A / fine, device=device)
    pixel = torch.sinc(qx * detector.pixel_size_A) * torch.sinc(qy * detector.pixel_size_A)
    # Finer detail than the sampling frequency is taken as lost in the scintillator.
    pixel = pixel * (torch.maximum(qx.abs(), qy.abs()) <= 1 / detector.pixel_size_A)
    # Pixel centres lie half a pixel from their corners; the field's origin is a corner of pixel (0, 0).
    shift = torch.exp(1j * torch.pi * detector.pixel_size_A * (qx + qy))
    integrated = torch.fft.irfft2(spectrum * pixel * shift, s=(fine, fine))
    step = fine // detector.pixels
    image = integrated[..., ::step, ::step].clamp(min=0.0)
    if detector.dose_e_A2 is not None:
        mean_counts = detector.dose_e_A2 * detector.pixel_size_A**2
        image = torch.poisson(image * mean_counts, generator=generator) / mean_counts
    qx = _frequencies(detector.pixels, device)[:, None]
    qy = torch.fft.rfftfreq(detector.pixels, detector.pixel_size_A, device=device)
    transfer = mtf(detector, torch.hypot(qx, qy))
    return torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=image.shape[-2:])


def turn(intensity: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
    """Images (N, m, m) turned in their plane about the centre, each by its own angle [degrees].

    Cubic interpolation; corners that come from outside are filled by reflection. Turn an oversampled
    intensity, never the camera's image: there the interpolation would blur the lattice fringes.
    """
    angle = torch.deg2rad(angle_deg)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    matrices = torch.stack([torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)], -2)
    grid = torch.nn.functional.affine_grid(matrices, [len(angle), 1, *intensity.shape[-2:]], align_corners=False)
    turned = torch.nn.functional.grid_sample(
        intensity[:, None], grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return turned[:, 0]


def form_images(
    waves: torch.Tensor,
    defocus_A: torch.Tensor,
    microscope: Microscope,
    detector: Detector,
    generator: torch.Generator | None = None,
    turn_deg: torch.Tensor | None = None,
) -> torch.Tensor:
    """Images of exit waves, each at its own defocus and, if wanted, turned in its plane.

    Parameters
    ----------
    waves
        Exit waves (N, n, n), see :func:`intensity_spectrum`.
    defocus_A
        Defocus (N,) [Å], positive for underfocus.
    microscope, detector
        The instrument.
    generator
        Source of the counting noise.
    turn_deg
        In-plane angles (N,) [degrees]; None leaves the images as they are.

    Returns
    -------
    Tensor
        Images (N, pixels, pixels), float32, in units of the incident intensity.
    """
    pixels = intensity_pixels(microscope, detector)
    spectrum = intensity_spectrum(waves, defocus_A, microscope, pixels)
    if turn_deg is not None:
        spectrum = torch.fft.rfft2(turn(torch.fft.irfft2(spectrum, s=(pixels, pixels)), turn_deg))
    return record(spectrum, detector, generator)


def focal_series(
    wave: np.ndarray,
    defoci_A: np.ndarray,
    microscope: Microscope,
    detector: Detector,
    seed: int = 0,
) -> np.ndarray:
    """Images (N, pixels, pixels) [incident intensity] of one exit wave at N defoci [Å], positive underfocus."""
    defoci = torch.as_tensor(np.asarray(defoci_A), dtype=torch.float32)
    waves = torch.as_tensor(wave).expand(len(defoci), -1, -1)
    generator = torch.Generator().manual_seed(seed)
    return form_images(waves, defoci, microscope, detector, generator).numpy()


def standardise(images: torch.Tensor) -> torch.Tensor:
    """Each image (..., h, w) with its own mean set to zero and its own variance to one."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    deviation = images.std(dim=(-2, -1), keepdim=True, correction=0)
    return (images - mean) / deviation.clamp(min=1e-12)


def explicit_intensity(
    wave: np.ndarray, defocus_A: float, microscope: Microscope, focus_nodes: int = 61, angle_nodes: int = 1
) -> np.ndarray:
    """The slow reference for :func:`intensity_spectrum`: an explicit average over focus and illumination angle.

    Focus is averaged over ±3 widths with equal steps, angles over a square grid of ±2.5 widths, both
    with their Gaussian weights. Returns the intensity (m, m) on a grid of twice the wave's pixels.
    """
    n = wave.shape[0]
    fine = next_fast_size(2 * n)
    lam, q = microscope.wavelength_A, np.fft.fftfreq(n, FIELD_A / n)
    index = np.fft.fftfreq(n, 1 / n).astype(int) % fine
    spectrum = np.fft.fft2(wave)
    t = np.linspace(-3, 3, focus_nodes) if focus_nodes > 1 else np.zeros(1)
    a = np.linspace(-2.5, 2.5, angle_nodes) if angle_nodes > 1 else np.zeros(1)
    total, norm = np.zeros((fine, fine)), 0.0
    for ax in a:
        for ay in a:
            tilt = microscope.convergence_mrad * 1e-3 / lam
            u = (q[:, None] + ax * tilt) ** 2 + (q + ay * tilt) ** 2
            for x in t:
                c1 = -defocus_A + x * microscope.focal_spread_A
                chi = np.pi * lam * u * (c1 + 0.5 * lam**2 * microscope.Cs_A * u)
                padded = np.zeros((fine, fine), complex)
                padded[index[:, None], index] = spectrum * np.exp(-1j * chi)
                weight = np.exp(-(x**2) - ax**2 - ay**2)
                total += weight * np.abs(np.fft.ifft2(padded)) ** 2
                norm += weight
    return total / norm * (fine / n) ** 4
