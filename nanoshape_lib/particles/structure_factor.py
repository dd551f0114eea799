"""How much of a particle shows lattice fringes along the beam: what its lattice can be told by, in kinematic terms."""

import numpy as np

VISIBLE_PER_A = (0.38, 0.50)
"""Spatial frequencies of the fringes of close-packed metals that pixels of 1 Å show: up to their Nyquist frequency."""
BIN_A = 0.25
WINDOW_A = 256.0


def share_in_phase(positions: np.ndarray) -> float:
    """The greatest share of a particle's atoms that scatter in phase into fringes that can be seen.

    It is the structure factor of the atoms' projection along z over their number, at its maximum between 0.38 and
    0.50 per Å. One says that planes stand edge-on throughout the particle. Planes tilted out of the beam by more than
    their spacing over the particle's thickness leave little, since their excitation error exceeds the inverse of the
    thickness (Williams & Carter, *Transmission Electron Microscopy*, 2009, chapter 12).

    ``positions``: of the atoms (N, 3) [Å], within 256 Å.
    """
    xy, half_A = positions[:, :2] - positions[:, :2].mean(axis=0), WINDOW_A / 2
    bins = round(WINDOW_A / BIN_A)
    counts, _ = np.histogramdd(xy, bins=bins, range=[(-half_A, half_A)] * 2)
    q = np.hypot(np.fft.fftfreq(bins, BIN_A)[:, None], np.fft.rfftfreq(bins, BIN_A))
    low, high = VISIBLE_PER_A
    return float(np.abs(np.fft.rfft2(counts))[(q >= low) & (q <= high)].max() / len(positions))
