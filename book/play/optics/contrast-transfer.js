// @ts-check
// Aberrations and contrast transfer, as in nanoshape_lib/simulation/optics.py. Lengths in Å, frequencies in 1/Å.

/**
 * Aberration function χ = π λ q² (C1 + λ² Cs q² / 2) [rad], with C1 = -defocus (Kirkland 2010, section 3.2).
 * @param {number} q2 square of the spatial frequency [1/Å²].
 * @param {{defocus_A: number, Cs_A: number}} settings
 * @param {number} wavelength [Å].
 */
export function aberration(q2, { defocus_A, Cs_A }, wavelength) {
  return Math.PI * wavelength * q2 * (0.5 * wavelength ** 2 * Cs_A * q2 - defocus_A);
}

/**
 * Envelope of an illumination whose directions spread by α: exp(-(α / 2λ · dχ/dq)²).
 * @param {number} q2 square of the spatial frequency [1/Å²].
 * @param {Aberrations} settings
 * @param {number} wavelength [Å].
 */
export function convergenceEnvelope(q2, { defocus_A, Cs_A, convergence_mrad }, wavelength) {
  const slope = wavelength ** 2 * Cs_A * q2 - defocus_A;
  return Math.exp(-((Math.PI * 1e-3 * convergence_mrad * slope) ** 2) * q2);
}

/**
 * Contrast transfer of a weak phase object (Kirkland 2010, section 3.2).
 * @param {number} q spatial frequency [1/Å].
 * @param {Instrument} settings
 * @param {number} wavelength [Å].
 * @returns {{transfer: number, envelope: number}} sin χ under its envelopes, and the envelope.
 */
export function contrastTransfer(q, settings, wavelength) {
  const temporal = ((Math.PI * wavelength * settings.focal_spread_A) / 2) * q ** 2;
  const envelope = Math.exp(-(temporal ** 2)) * convergenceEnvelope(q ** 2, settings, wavelength);
  return { transfer: Math.sin(aberration(q ** 2, settings, wavelength)) * envelope, envelope };
}
