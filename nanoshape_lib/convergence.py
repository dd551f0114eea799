"""How far off a simulation is: against its grid and slices, and against the treatment of coherence."""

import time
from collections.abc import Iterable, Sequence

import abtem
import numpy as np
import pandas as pd
import torch

from nanoshape_lib import rotations, shapes
from nanoshape_lib.hrtem import Fidelity, exit_wave, shake
from nanoshape_lib.imaging import explicit_intensity, focal_modes, form_images, intensity_spectrum, record
from nanoshape_lib.microscope import Detector, Microscope
from nanoshape_lib.substrate import FIELD_A, Scene, deposit

REFERENCE = Fidelity(0.1, 1.0)
DEFOCI_A = (-100.0, 0.0, 100.0)
NOISELESS = Detector(dose_e_A2=None)
FOCUS_NODES, ANGLE_NODES = 25, 5


def relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    """Norm of the difference over the norm of the reference's own deviation from its mean."""
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference - reference.mean()))


def standard_scenes(seed: int = 0) -> dict[str, Scene]:
    """A 43 Å truncated octahedron in vacuum, its atoms displaced as at 300 K: turned anyhow, and along [001]."""
    rng = np.random.default_rng(seed)
    general = rotations.euler(20, 35, 50)
    scenes = {}
    for name, rotation in {"general orientation": general, "along [001]": np.eye(3)}.items():
        particle = shapes.build("truncated octahedron", 43)
        particle.positions = particle.positions @ rotation.T
        scenes[name] = deposit(shake(particle, rng), None)
    return scenes


def convergence_table(
    scenes: dict[str, Scene],
    grids: Iterable[tuple[float, float]],
    microscope: Microscope,
    reference: Fidelity = REFERENCE,
) -> pd.DataFrame:
    """Errors of waves and images on coarser grids against a fine one.

    Parameters
    ----------
    scenes
        What to simulate, by name.
    grids
        Pairs of sampling [Å/pixel] and slice thickness [Å].
    microscope
        The instrument; its aperture bounds the wave that is compared.
    reference
        The fine grid.

    Returns
    -------
    DataFrame
        Columns scene, sampling_A, slice_A, pixels, wave, images_low, images_high and seconds. ``wave`` is the
        error inside the aperture relative to the scattered wave; the two for images are the least and
        the largest error of noiseless camera images at defoci of -100, 0 and +100 Å, relative to their contrast.
    """
    rows = []
    for name, scene in scenes.items():
        exact = exit_wave(scene, microscope, reference)
        exact_images = _images(exact, microscope)
        for sampling, thickness in grids:
            grid = Fidelity(sampling, thickness)
            start = time.perf_counter()
            wave = exit_wave(scene, microscope, grid)
            seconds = time.perf_counter() - start
            pairs = zip(_images(wave, microscope), exact_images, strict=True)
            errors = [relative_error(image, exact_image) for image, exact_image in pairs]
            rows.append(
                {
                    "scene": name,
                    "sampling_A": sampling,
                    "slice_A": thickness,
                    "pixels": grid.pixels,
                    "wave": relative_error(wave, exact),
                    "images_low": min(errors),
                    "images_high": max(errors),
                    "seconds": seconds,
                }
            )
    return pd.DataFrame(rows)


def _images(wave: np.ndarray, microscope: Microscope) -> np.ndarray:
    waves = torch.as_tensor(wave).expand(len(DEFOCI_A), -1, -1)
    return form_images(waves, torch.tensor(DEFOCI_A), microscope, NOISELESS).numpy()


def coherence_images(wave: np.ndarray, defocus_A: float, microscope: Microscope) -> dict[str, np.ndarray]:
    """Noiseless camera images of one wave by three treatments of partial coherence.

    Returns
    -------
    dict
        ``explicit``: the average over focus and angle, summed term by term. ``low rank``: this library's.
        ``quasi-coherent``: one coherent image under abTEM's envelopes. Units of the incident intensity.
    """
    n = wave.shape[0]
    explicit = explicit_intensity(wave, defocus_A, microscope, FOCUS_NODES, ANGLE_NODES)
    fine = explicit.shape[0]
    spectrum = np.zeros((fine, fine), complex)
    index = np.fft.fftfreq(n, 1 / n).astype(int) % fine
    spectrum[index[:, None], index] = np.fft.fft2(wave) * (fine / n) ** 2
    waves = abtem.Waves(np.fft.ifft2(spectrum).astype(np.complex64), energy=microscope.energy_eV, extent=FIELD_A)
    ctf = abtem.CTF(
        energy=microscope.energy_eV,
        defocus=defocus_A,
        C30=microscope.Cs_A,
        focal_spread=microscope.focal_spread_A,
        angular_spread=microscope.convergence_mrad,
    )
    quasi = np.abs(np.asarray(waves.apply_ctf(ctf).array)) ** 2  # type: ignore[union-attr]
    low_rank = intensity_spectrum(torch.as_tensor(wave)[None], torch.tensor([defocus_A]), microscope, fine)
    spectra = {
        "explicit": torch.fft.rfft2(torch.as_tensor(explicit, dtype=torch.float32))[None],
        "low rank": low_rank,
        "quasi-coherent": torch.fft.rfft2(torch.as_tensor(quasi, dtype=torch.float32))[None],
    }
    return {name: record(spectrum, NOISELESS)[0].numpy() for name, spectrum in spectra.items()}


def coherence_table(
    images: Sequence[dict[str, np.ndarray]], defoci_A: Sequence[float], microscope: Microscope
) -> pd.DataFrame:
    """Error against the explicit average, mean intensity and cost, for each treatment and defocus [Å]."""
    cost = {"explicit": FOCUS_NODES * ANGLE_NODES**2, "low rank": len(focal_modes(microscope)), "quasi-coherent": 1}
    rows = [
        {
            "defocus_A": defocus,
            "treatment": name,
            "error": relative_error(image, by_name["explicit"]),
            "mean intensity": float(image.mean()),
            "coherent images": cost[name],
        }
        for defocus, by_name in zip(defoci_A, images, strict=True)
        for name, image in by_name.items()
    ]
    return pd.DataFrame(rows)
