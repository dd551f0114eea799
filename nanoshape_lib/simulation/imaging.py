"""Images from exit waves: aberrations, partial coherence, camera, dose. One batched function in torch.

Spectra here are coefficients of Fourier series, as from ``torch.fft.fft2(waves, norm="forward")``: they do not change
with the number of pixels.
"""

import math
import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.multislice import fit_spectrum, next_fast_size
from nanoshape_lib.simulation.optics import (
    AZIMUTHAL,
    KERNEL_POINTS,
    Camera,
    Microscope,
    Setting,
    aberration_function,
    focal_spread_modes,
    intensity_pixels,
    mtf,
    source_envelope,
)

# Version of the images, raised when that of a wave at a setting changes; see `paths.cache_key`.
RECIPE = 2
BATCH_CUDA = 64


def _polar(phase: torch.Tensor) -> torch.Tensor:
    """``exp(i phase)``; several times faster on a CPU than torch.polar or the exponential."""
    return torch.complex(torch.cos(phase), torch.sin(phase))


def _frequencies(kept: int, field_A: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Frequencies [1/Å] of the spectra of images, (2 kept, 1) and (kept,)."""
    q = torch.fft.fftfreq(2 * kept, field_A / (2 * kept), device=device)
    return q[:, None], q[:kept]


def _band(camera: Camera, field_A: float) -> int:
    """Number of the frequencies of a field below the camera's sampling frequency."""
    return math.ceil(field_A / camera.pixel_size_A - 1e-6)


def _kept(spectrum: torch.Tensor, kept: int) -> torch.Tensor:
    """The frequencies below a number of them of real images' spectra, (N, 2 kept, kept)."""
    if spectrum.shape[1:] == (2 * kept, kept):
        return spectrum
    cut = spectrum.new_zeros(len(spectrum), 2 * kept, kept)
    for rows in (slice(0, kept), slice(1 - kept, None)):
        cut[:, rows] = spectrum[:, rows, :kept]
    return cut


@lru_cache(maxsize=16)
def _mode_weights(
    energy_eV: float, aperture_mrad: float, focal_spread_A: float, n: int, field_A: float, device: torch.device
) -> torch.Tensor:
    """The focal modes (m, n, n) on the wave's frequencies, zero outside the aperture."""
    microscope = Microscope(energy_eV=energy_eV, aperture_mrad=aperture_mrad, focal_spread_A=focal_spread_A)
    q = np.fft.fftfreq(n, field_A / n)
    u = q[:, None] ** 2 + q**2
    points = np.linspace(0.0, microscope.aperture_per_A**2, KERNEL_POINTS)
    weights = [np.interp(u, points, mode) * (u <= points[-1]) for mode in focal_spread_modes(microscope)]
    return torch.as_tensor(np.stack(weights), dtype=torch.float32, device=device)


@lru_cache(maxsize=4)
def _aberrated(microscope: Microscope, n: int, field_A: float, device: torch.device) -> torch.Tensor:
    """``exp(-i χ)`` (n, n) of all aberrations but the defocus."""
    q = torch.fft.fftfreq(n, field_A / n, device=device)
    return _polar(-aberration_function(q[:, None], q, microscope))


def intensity_spectrum(
    spectra: torch.Tensor,
    defocus_A: torch.Tensor,
    microscope: Microscope,
    pixels: int,
    field_A: float = FIELD_A,
    kept: int | None = None,
) -> torch.Tensor:
    """Spectrum of the partially coherent image intensity, before the camera.

    Temporal coherence is that of :func:`~nanoshape_lib.simulation.optics.focal_spread_modes`. Spatial coherence is the
    factor ``exp(-(θ/2λ)² |∇χ(q)|²)`` on the intensity's spectrum, with θ the 1/e half width of the convergence: a tilt
    of the illumination shifts a defocused image without changing it, so this is exact for pure defocus and any object,
    and for any aberration in the limit of weak scattering.

    ``spectra`` (N, n, n) are of exit waves that are limited to the aperture and referred to the plane of zero defocus,
    each with its defocus [Å], positive for underfocus. The intensity is formed on a grid of ``pixels``. Returns the
    ``kept`` lowest frequencies, by default half as many as pixels: (N, 2 kept, kept), in the order of
    ``torch.fft.rfft2`` and without the Nyquist frequencies.
    """
    (count, n, _), device = spectra.shape, spectra.device
    q = torch.fft.fftfreq(n, field_A / n, device=device)
    defocus_A = defocus_A.to(device, torch.float32)[:, None, None]
    # What the defocus adds to the phase is a sum of the same function along x and along y.
    added = aberration_function(q, 0.0, microscope, defocus_A) - aberration_function(q, 0.0, microscope)
    line = _polar(-added)
    seen = spectra * _aberrated(microscope, n, field_A, device) * line.mT * line
    padded, system, squares = _workspace(count, n, pixels, device, threading.get_ident())
    squares.zero_()
    low, high = slice(0, (n + 1) // 2), slice(-(n // 2), None)
    energy, aperture, spread = microscope.energy_eV, microscope.aperture_mrad, microscope.focal_spread_A
    for weight in _mode_weights(energy, aperture, spread, n, field_A, device):
        for rows in (low, high):
            for columns in (low, high):
                torch.mul(seen[:, rows, columns], weight[rows, columns], out=padded[:, rows, columns])
        parts = torch.view_as_real(torch.fft.ifft2(padded, norm="forward", out=system))
        squares.addcmul_(parts, parts)
    # The forward transform is scaled by hand: MKL may scale one of 2048 x 2048 twice (PyTorch's issue 169670).
    spectrum = _kept(torch.fft.rfft2(squares[..., 0] + squares[..., 1]), kept or pixels // 2)
    damping = source_envelope(*_frequencies(spectrum.shape[-1], field_A, device), microscope, defocus_A)
    return spectrum.mul_(damping.div_(pixels**2))


@lru_cache(maxsize=4)
def _workspace(count: int, n: int, pixels: int, device: torch.device, thread: int) -> tuple[torch.Tensor, ...]:
    """Memory that a thread uses again: fresh memory costs as much as the transforms. The first stays padded."""
    padded = torch.zeros(count, pixels, pixels, dtype=torch.complex64, device=device)
    return padded, torch.empty_like(padded), torch.empty(count, pixels, pixels, 2, device=device)


@lru_cache(maxsize=16)
def _camera_transfer(camera: Camera, kept: int, field_A: float, device: torch.device) -> tuple[torch.Tensor, ...]:
    """What multiplies the intensity's spectrum (2 kept, kept): integration over a pixel and drift, and with it the MTF.

    Beside them the MTF on the frequencies (pixels, pixels // 2 + 1) of the camera's image.
    """
    qx, qy = _frequencies(kept, field_A, device)
    # Pixel centres lie half a pixel from their corners; the field's origin is a corner of pixel (0, 0).
    pixel = torch.sinc(qx * camera.pixel_size_A) * _polar(torch.pi * camera.pixel_size_A * qx)
    angle = math.radians(camera.drift_deg)
    drift = torch.sinc(camera.drift_A * (math.cos(angle) * qx + math.sin(angle) * qy))
    transfer = pixel * pixel[:kept, 0] * drift
    fx, fy = (f(camera.pixels, camera.pixel_size_A, device=device) for f in (torch.fft.fftfreq, torch.fft.rfftfreq))
    return transfer, transfer * mtf(camera, torch.hypot(qx, qy)), mtf(camera, torch.hypot(fx[:, None], fy))


def _sampled(spectrum: torch.Tensor, camera: Camera, field_A: float) -> torch.Tensor:
    """Values (N, pixels, pixels) in the pixels' corners, which lie about the field's centre, of (N, 2 kept, kept)."""
    n, kept = camera.pixels, spectrum.shape[-1]
    if math.isclose(camera.field_A, field_A):
        # Frequencies beyond the pixels' Nyquist frequency fold back; half of them stand for their conjugates.
        rows = spectrum[:, :n] + spectrum[:, n:]
        folded = rows[..., : n // 2 + 1].clone()
        folded[..., 1:] += rows.flip(1, 2).roll(1, 1)[..., : n // 2].conj()
        return torch.fft.irfft2(folded, s=(n, n), norm="forward")
    q, _ = _frequencies(kept, field_A, spectrum.device)
    x = (field_A - camera.field_A) / 2 + torch.arange(n, device=spectrum.device) * camera.pixel_size_A
    waves = _polar(2 * torch.pi * x[:, None] * q[:, 0])
    columns = waves[:, :kept].T * torch.where(q[:kept] == 0, 1, 2)
    half = waves @ spectrum
    return half.real @ columns.real - half.imag @ columns.imag


def record(
    spectrum: torch.Tensor,
    camera: Camera,
    generator: torch.Generator | None = None,
    field_A: float = FIELD_A,
    light: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """What the camera records: integration over its pixels, counting statistics, and its MTF.

    Electrons are counted where they arrive; the scintillator spreads their light before the pixels sample it. Hence
    fringes finer than two pixels are damped at their own frequency and then appear at a lower one. Counts per pixel are
    Poisson with mean ``dose x pixel area x intensity``; there is no noise with ``camera.dose_e_A2=None``.

    The spectrum is that of :func:`intensity_spectrum` on at least twice the camera's pixels, over a field of this side
    [Å]. Pixels that do not fill the field, or more than fill it, lie about its centre: the intensity is known by its
    Fourier series and integrated over them, nothing is interpolated. ``light`` is the illumination (pixels, pixels)
    relative to its mean. Returns images (N, pixels, pixels), float32, in units of the incident intensity.
    """
    # Finer detail than the camera's sampling frequency is taken as lost in the scintillator.
    seen = _kept(spectrum, _band(camera, field_A))
    integrated, blurred, noise_transfer = _camera_transfer(camera, seen.shape[-1], field_A, spectrum.device)
    image = light * _sampled(seen * blurred, camera, field_A)
    if camera.dose_e_A2 is None:
        return image
    arriving = light * _sampled(seen * integrated, camera, field_A).clamp(min=0.0)
    mean_counts = camera.dose_e_A2 * camera.pixel_size_A**2
    noise = torch.poisson(arriving * mean_counts, generator=generator) / mean_counts - arriving
    return image + torch.fft.irfft2(torch.fft.rfft2(noise) * noise_transfer, s=image.shape[-2:])


def _shear(slope: torch.Tensor, m: int) -> torch.Tensor:
    """``exp(2πi slope j k / m)`` (N, m, m), j ordered as by an unshifted FFT, k from -m/2 on, for slopes (N, 1, 1)."""
    coarse = math.isqrt(m)
    while m % coarse:
        coarse -= 1
    k = torch.arange(m, device=slope.device) - m / 2
    # Products of few powers: sines and cosines of all of them would take as long as the transforms.
    high = _polar(2 * torch.pi / m * slope * k[::coarse, None] * k)
    low = _polar(2 * torch.pi / m * slope * (k[:coarse, None] - k[0]) * k)
    return (high[:, :, None] * low[:, None]).reshape(-1, m, m).roll(m // 2, 1)


def turn(spectra: torch.Tensor, angle_deg: torch.Tensor) -> torch.Tensor:
    """Spectra (N, n, n) of waves turned about the field's centre, from x towards y, by (N,) of -45 to 45 degrees.

    Three shears along the axes (Unser, Thévenaz & Yaroslavsky 1995), each of them exact in Fourier
    space: nothing is interpolated, and no frequency inside the aperture is damped. Beyond half the
    field from the centre the content comes from the periodic continuation. A camera image must not be
    turned instead: interpolation would blur its lattice fringes.
    """
    n, device = spectra.shape[-1], spectra.device
    # A shear by 45 degrees widens the band by the factor 1.08.
    m = next_fast_size(math.ceil(1.083 * n))
    angle = torch.deg2rad(angle_deg.to(device))[:, None, None]
    shear_x, shear_y = _shear(torch.tan(angle / 2), m), _shear(-torch.sin(angle), m).mT
    mixed = torch.fft.ifft(fit_spectrum(spectra, (m, m)), dim=-1) * shear_x
    mixed = torch.fft.fft(torch.fft.ifft(mixed, dim=-2), dim=-1) * shear_y
    mixed = torch.fft.fft(torch.fft.ifft(mixed, dim=-1), dim=-2) * shear_x
    return fit_spectrum(torch.fft.fft(mixed, dim=-1), (n, n))


def form_images(
    waves: torch.Tensor | np.ndarray,
    at: torch.Tensor | Sequence[float] | Sequence[Setting],
    microscope: Microscope,
    camera: Camera,
    generator: torch.Generator | None = None,
    turn_deg: torch.Tensor | None = None,
    field_A: float = FIELD_A,
    light: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Images of exit waves, each at its own defocus or setting and, if wanted, turned in its plane.

    Parameters
    ----------
    waves
        Exit waves (N, n, n), complex, limited to the aperture and referred to the plane of zero defocus; or one of
        them (n, n) for all images. Their device forms the images.
    at
        A defocus (N,) [Å] each, positive for underfocus, or a setting each.
    microscope, camera
        The instrument, as far as the settings do not say otherwise. The camera's field must be that of the waves.
    generator
        Source of the counting noise.
    turn_deg
        In-plane angles (N,) [degrees] by which the specimen is turned; None leaves it as it is.
    field_A
        Side of the square field of the waves [Å].
    light
        Illumination (pixels, pixels) relative to its mean.

    Returns
    -------
    Tensor
        Images (N, pixels, pixels), float32, in units of the incident intensity.

    Raises
    ------
    NanoshapeError
        If the camera has another field than the waves.
    """
    if not math.isclose(camera.field_A, field_A):
        raise NanoshapeError(
            f"pixels x pixel_size_A is {camera.field_A:g} Å, but must be the field of the waves, {field_A:g} Å"
        )
    waves = torch.as_tensor(waves, dtype=torch.complex64)
    spectra = (torch.fft.fft2(waves) / waves.shape[-1] ** 2).expand(len(at), -1, -1)
    settings = [each for each in at if isinstance(each, Setting)]
    defoci = torch.tensor([each.defocus_A if isinstance(each, Setting) else float(each) for each in at])
    if not settings and (camera.drift_A or any(getattr(microscope, f"{name}_A") for name in AZIMUTHAL)):
        settings = [Setting.nominal(microscope, camera, float(defocus_A)) for defocus_A in defoci]
    angles = torch.zeros(len(at)) if turn_deg is None else turn_deg
    quarters = torch.round(angles / 90).long()
    pixels, scope, recorder, images = intensity_pixels(microscope, camera), microscope, camera, []
    # One image at a time stays within a processor's cache; a graphics card wants many.
    step = BATCH_CUDA if waves.is_cuda and not settings else 1
    for part in (slice(start, start + step) for start in range(0, len(at), step)):
        if settings:
            # The image makes its quarter turns last, and with it the directions of the instrument.
            scope, recorder = settings[part.start].instrument(microscope, camera, -90.0 * int(quarters[part]))
        seen = spectra[part]
        if turn_deg is not None:
            seen = turn(seen, angles[part] - 90 * quarters[part])
        spectrum = intensity_spectrum(seen, defoci[part], scope, pixels, field_A, _band(recorder, field_A))
        images.append(record(spectrum, recorder, generator, field_A, light))
    formed = torch.cat(images)
    for number in torch.nonzero(quarters % 4).flatten():
        formed[number] = torch.rot90(formed[number], int(quarters[number]))
    return formed


def focal_series(
    wave: np.ndarray, defoci_A: Sequence[float] | np.ndarray, microscope: Microscope, camera: Camera, seed: int = 0
) -> np.ndarray:
    """Images (N, pixels, pixels) [incident intensity] of one exit wave at N defoci [Å], positive underfocus."""
    generator = torch.Generator().manual_seed(seed)
    return form_images(wave, torch.as_tensor(np.asarray(defoci_A)), microscope, camera, generator).numpy()


def standardise(images: torch.Tensor) -> torch.Tensor:
    """Each image (..., h, w) with its own mean set to zero and its own variance to one."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    deviation = images.std(dim=(-2, -1), keepdim=True, correction=0)
    return (images - mean) / deviation.clamp(min=1e-12)
