"""Images from exit waves: aberrations, partial coherence, camera, dose. One batched function in torch."""

import math
from functools import lru_cache

import numpy as np
import torch

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.multislice import next_fast_size
from nanoshape_lib.simulation.optics import Camera, Microscope

# Version of the images, raised when that of a wave at a setting changes; see `paths.cache_key`.
RECIPE = 1
KERNEL_POINTS = 129
KERNEL_TOLERANCE = 2e-3
BEAM_WEIGHT = 1e6
BATCH_CUDA = 64


@lru_cache(maxsize=64)
def focal_modes(microscope: Microscope) -> np.ndarray:
    """Coherent systems whose intensities add up to the average over the focal spread.

    A change of focus by f multiplies the wave by ``exp(-iπλ f u)``, ``u = q²``. The average over a
    Gaussian of 1/e width Δ weighs the interference of ``u1`` and ``u2`` by
    ``K = exp(-(πλΔ (u1 - u2) / 2)²)``. K is smooth inside the aperture, hence of low rank: its
    eigenvectors, scaled by the roots of its eigenvalues, are the systems (the sum of coherent systems
    of optical lithography, N. Cobb 1998). Nearly all of an image is interference with the transmitted
    beam, ``u = 0``, which is therefore given a million times the weight of another point.

    Returns
    -------
    ndarray
        Amplitudes (m, 129) at 129 equidistant ``u`` from 0 to the aperture's edge. The neglected part of
        the scattered intensity is below 0.2 % at every ``u``.
    """
    u = np.linspace(0.0, microscope.aperture_per_A**2, KERNEL_POINTS)
    width = np.pi * microscope.wavelength_A * microscope.focal_spread_A / 2
    root = np.sqrt(np.where(u == 0, BEAM_WEIGHT, 1.0))
    values, vectors = np.linalg.eigh(np.exp(-((width * (u[:, None] - u)) ** 2)) * root[:, None] * root)
    modes = (vectors * np.sqrt(np.maximum(values, 0.0))).T[::-1] / root
    # The diagonal of K is one: what the first m modes leave of it is the intensity that is lost.
    lost = 1.0 - np.cumsum(modes**2, axis=0).min(axis=1)
    return modes[: int(np.argmax(lost < KERNEL_TOLERANCE)) + 1]


def intensity_pixels(microscope: Microscope, camera: Camera) -> int:
    """Side of the grid on which the intensity is formed so that nothing aliases into the camera's band.

    The intensity of a wave inside an aperture K has frequencies up to 2K. On a grid with sampling
    frequency S they fold back to S - 2K, which must lie outside what the camera sees: everything up to
    its own sampling frequency 1/pixel. The grid is a whole multiple of the camera's pixels.
    """
    band = 2 * microscope.aperture_per_A + 1 / camera.pixel_size_A
    oversampling = max(2, math.ceil(band * camera.pixel_size_A - 0.01))
    return camera.pixels * oversampling


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


def _check_field(camera: Camera) -> None:
    if not math.isclose(camera.field_A, FIELD_A):
        raise NanoshapeError(
            f"pixels x pixel_size_A is {camera.field_A:g} Å, but must be the field of the waves, {FIELD_A:g} Å"
        )


def _frequencies(n: int, device: torch.device) -> torch.Tensor:
    return torch.fft.fftfreq(n, FIELD_A / n, device=device)


def _polar(phase: torch.Tensor) -> torch.Tensor:
    """``exp(i phase)``; several times faster on a CPU than torch.polar or the exponential."""
    return torch.complex(torch.cos(phase), torch.sin(phase))


def _resize(spectrum: torch.Tensor, n: int) -> torch.Tensor:
    """Square spectra (..., m, m) in unshifted order, padded with zeros or cropped to (..., n, n)."""
    keep = min(n, spectrum.shape[-1])
    low, high = slice(0, (keep + 1) // 2), slice(-(keep // 2), None)
    resized = torch.zeros(*spectrum.shape[:-2], n, n, dtype=spectrum.dtype, device=spectrum.device)
    for rows in (low, high):
        for columns in (low, high):
            resized[..., rows, columns] = spectrum[..., rows, columns]
    return resized


@lru_cache(maxsize=16)
def _mode_weights(microscope: Microscope, n: int, device: torch.device) -> torch.Tensor:
    """The focal modes (m, n, n) on the wave's frequencies, zero outside the aperture."""
    q = np.fft.fftfreq(n, FIELD_A / n)
    u = q[:, None] ** 2 + q**2
    points = np.linspace(0.0, microscope.aperture_per_A**2, KERNEL_POINTS)
    weights = [np.interp(u, points, mode) * (u <= points[-1]) for mode in focal_modes(microscope)]
    return torch.as_tensor(np.stack(weights), dtype=torch.complex64, device=device)


def intensity_spectrum(
    waves: torch.Tensor, defocus_A: torch.Tensor, microscope: Microscope, pixels: int
) -> torch.Tensor:
    """Spectrum of the partially coherent image intensity, before the camera.

    Temporal coherence is that of :func:`focal_modes`. Spatial coherence is the factor
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
    seen = torch.fft.fft2(waves) * (pixels / n) ** 2
    seen *= _polar(-torch.pi * wavelength * u * (c1 + 0.5 * wavelength**2 * microscope.Cs_A * u))
    intensity = torch.zeros(len(waves), pixels, pixels, device=device)
    for weight in _mode_weights(microscope, n, device):
        system = torch.fft.ifft2(_resize(seen * weight, pixels))
        intensity += torch.addcmul(system.real * system.real, system.imag, system.imag)

    qx, qy = _frequencies(pixels, device)[:, None], torch.fft.rfftfreq(pixels, FIELD_A / pixels, device=device)
    r2 = qx**2 + qy**2
    slope = c1 + wavelength**2 * microscope.Cs_A * r2
    blur = torch.exp(-((torch.pi * 1e-3 * microscope.convergence_mrad) ** 2) * r2 * slope * slope)
    return torch.fft.rfft2(intensity).mul_(blur.to(torch.complex64))


def mtf(camera: Camera, frequency_per_A: torch.Tensor) -> torch.Tensor:
    """Modulation transfer of scintillator and read-out at a spatial frequency [1/Å]; see :class:`Camera`."""
    k = frequency_per_A * 2 * camera.pixel_size_A
    return (1 - camera.mtf_c1) / (1 + (k / (2 * camera.mtf_c2)) ** camera.mtf_c3) + camera.mtf_c1


def record(spectrum: torch.Tensor, camera: Camera, generator: torch.Generator | None = None) -> torch.Tensor:
    """What the camera records: integration over its pixels, counting statistics, and its MTF.

    Electrons are counted where they arrive; the scintillator spreads their light before the pixels sample
    it. Hence fringes finer than two pixels are damped at their own frequency and then appear at a lower one.

    Parameters
    ----------
    spectrum
        From :func:`intensity_spectrum`, on at least twice the camera's pixels.
    camera
        Camera and dose; counts per pixel are Poisson with mean ``dose x pixel area x intensity``.
    generator
        Source of the Poisson noise. With ``camera.dose_e_A2=None`` there is none.

    Returns
    -------
    Tensor
        Images (N, pixels, pixels), float32, in units of the incident intensity.
    """
    _check_field(camera)
    n, device = camera.pixels, spectrum.device
    # Finer detail than the sampling frequency is taken as lost in the scintillator.
    seen = torch.zeros(len(spectrum), 2 * n, n + 1, dtype=spectrum.dtype, device=device)
    for rows in (slice(0, n), slice(1 - n, None)):
        seen[:, rows, :n] = spectrum[:, rows, :n] * (2 * n / spectrum.shape[-2]) ** 2
    integrated, blurred = _camera_transfer(camera, device)
    image = torch.fft.irfft2(seen * blurred)[:, ::2, ::2]
    if camera.dose_e_A2 is None:
        return image
    arriving = torch.fft.irfft2(seen * integrated)[:, ::2, ::2].clamp(min=0.0)
    mean_counts = camera.dose_e_A2 * camera.pixel_size_A**2
    noise = torch.poisson(arriving * mean_counts, generator=generator) / mean_counts - arriving
    qx = _frequencies(n, device)[:, None]
    qy = torch.fft.rfftfreq(n, camera.pixel_size_A, device=device)
    return image + torch.fft.irfft2(torch.fft.rfft2(noise) * mtf(camera, torch.hypot(qx, qy)))


@lru_cache(maxsize=16)
def _camera_transfer(camera: Camera, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (2 pixels, pixels + 1) on the intensity's spectrum: integration over a pixel, and with it the MTF."""
    n = 2 * camera.pixels
    qx, qy = _frequencies(n, device)[:, None], torch.fft.rfftfreq(n, FIELD_A / n, device=device)
    pixel = torch.sinc(qx * camera.pixel_size_A) * torch.sinc(qy * camera.pixel_size_A)
    # Pixel centres lie half a pixel from their corners; the field's origin is a corner of pixel (0, 0).
    pixel = pixel * torch.exp(1j * torch.pi * camera.pixel_size_A * (qx + qy))
    return pixel, pixel * mtf(camera, torch.hypot(qx, qy))


def turn(waves: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
    """Waves (N, n, n) turned about the field's centre, from x towards y, by angles (N,) of -45 to 45 degrees.

    Three shears along the axes (Unser, Thévenaz & Yaroslavsky 1995), each of them exact in Fourier
    space: nothing is interpolated, and no frequency inside the aperture is damped. Beyond half the
    field from the centre the content comes from the periodic continuation. A camera image must not be
    turned instead: interpolation would blur its lattice fringes.
    """
    n = waves.shape[-1]
    # A shear by 45 degrees widens the band by the factor 1.08.
    m = next_fast_size(math.ceil(1.083 * n))
    angle = torch.deg2rad(angle_deg.to(waves.device))[:, None, None]
    q = 2 * torch.pi * _frequencies(m, waves.device)
    x = (torch.arange(m, device=waves.device) - m / 2) * (FIELD_A / m)
    shear_x = _polar(torch.tan(angle / 2) * q[:, None] * x)
    shear_y = _polar(-torch.sin(angle) * x[:, None] * q)
    mixed = torch.fft.ifft(_resize(torch.fft.fft2(waves), m), dim=-1) * shear_x
    mixed = torch.fft.fft(torch.fft.ifft(mixed, dim=-2), dim=-1) * shear_y
    mixed = torch.fft.fft(torch.fft.ifft(mixed, dim=-1), dim=-2) * shear_x
    return torch.fft.ifft2(_resize(torch.fft.fft(mixed, dim=-1), n))


def form_images(
    waves: torch.Tensor,
    defocus_A: torch.Tensor,
    microscope: Microscope,
    camera: Camera,
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
    microscope, camera
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
    pixels = intensity_pixels(microscope, camera)
    angles = torch.zeros(len(waves)) if turn_deg is None else turn_deg
    quarters = torch.round(angles / 90).long()
    images = []
    # One image at a time stays within a processor's cache; a graphics card wants many.
    for part in torch.arange(len(waves)).split(BATCH_CUDA if waves.is_cuda else 1):
        turned = waves[part] if turn_deg is None else turn(waves[part], angles[part] - 90 * quarters[part])
        images.append(record(intensity_spectrum(turned, defocus_A[part], microscope, pixels), camera, generator))
    formed = torch.cat(images)
    for k in (1, 2, 3):
        formed[quarters % 4 == k] = torch.rot90(formed[quarters % 4 == k], k, (-2, -1))
    return formed


def focal_series(
    wave: np.ndarray, defoci_A: np.ndarray, microscope: Microscope, camera: Camera, seed: int = 0
) -> np.ndarray:
    """Images (N, pixels, pixels) [incident intensity] of one exit wave at N defoci [Å], positive underfocus."""
    defoci = torch.as_tensor(np.asarray(defoci_A), dtype=torch.float32)
    waves = torch.as_tensor(wave).expand(len(defoci), -1, -1)
    generator = torch.Generator().manual_seed(seed)
    return form_images(waves, defoci, microscope, camera, generator).numpy()


def standardise(images: torch.Tensor) -> torch.Tensor:
    """Each image (..., h, w) with its own mean set to zero and its own variance to one."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    deviation = images.std(dim=(-2, -1), keepdim=True, correction=0)
    return (images - mean) / deviation.clamp(min=1e-12)
