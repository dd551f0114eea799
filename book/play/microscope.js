// The microscope's formulas, as in nanoshape_lib/imaging.py. Lengths in Å, frequencies in 1/Å.

/**
 * Contrast transfer of a weak phase object at frequency q (Kirkland 2010, section 3.2).
 * @param {number} q spatial frequency [1/Å].
 * @param {{defocus_A: number, Cs_A: number, focal_spread_A: number, convergence_mrad: number}} settings
 * @param {number} wavelength [Å].
 * @returns {{transfer: number, envelope: number}} sin χ under its envelopes, and the envelope.
 */
export function phaseTransfer(q, settings, wavelength) {
  const c1 = -settings.defocus_A;
  const chi = Math.PI * wavelength * q ** 2 * (c1 + 0.5 * wavelength ** 2 * settings.Cs_A * q ** 2);
  const slope = 2 * Math.PI * wavelength * q * (c1 + wavelength ** 2 * settings.Cs_A * q ** 2);
  const temporal = ((Math.PI * wavelength * settings.focal_spread_A) / 2) * q ** 2;
  const spatial = ((settings.convergence_mrad * 1e-3) / (2 * wavelength)) * slope;
  const envelope = Math.exp(-(temporal ** 2) - spatial ** 2);
  return { transfer: Math.sin(chi) * envelope, envelope };
}

/** Modulation transfer of scintillator and read-out at a frequency [1/Å] for pixels of `pixel` Å. */
export function mtf(frequency, { c1, c2, c3 }, pixel) {
  return (1 - c1) / (1 + ((frequency * 2 * pixel) / (2 * c2)) ** c3) + c1;
}

/** Index of bin k of n in the order of a Fourier transform, as a signed frequency step. */
export function signed(k, n) {
  return k < (n + 1) >> 1 ? k : k - n;
}
