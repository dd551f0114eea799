"""Fourier grids written down anew, for tests to compare with."""

import numpy as np

from nanoshape_lib.particles.specimen import FIELD_A


def squared_frequencies(n, extent_A=FIELD_A):
    """Squared spatial frequency [1/Å²] (n, n) in the order of an unshifted FFT."""
    q = np.fft.fftfreq(n, extent_A / n)
    return q[:, None] ** 2 + q**2


def fourier_crop(spectrum, n):
    """The central n x n frequencies, n even, of a larger square spectrum, for the same values on n x n pixels."""
    index = np.r_[: n // 2, len(spectrum) - n // 2 : len(spectrum)]
    return np.asarray(spectrum)[index][:, index] * (n / len(spectrum)) ** 2
