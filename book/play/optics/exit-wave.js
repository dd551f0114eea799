// @ts-check
// Stored exit waves: one byte a number, see nanoshape_lib/book/stored_waves.py. Their phase and amplitude.

import { beforeQuarters } from "./wave-turner.js";

/**
 * Spectrum of a stored wave on the frequencies inside the aperture, row by row.
 * @param {Uint8Array} bytes of the asset.
 * @param {Float64Array} u squared frequencies [1/Å²] in that order, as `ImageFormer.u`.
 * @param {number} field side of the field [Å].
 * @returns {{real: Float32Array, imaginary: Float32Array}} divided by the number of pixels: the mean wave is at u = 0.
 */
export function unpackWave(bytes, u, field) {
  const rings = Int32Array.from(u, (square) => Math.round(Math.sqrt(square) * field));
  const last = rings.reduce((a, b) => Math.max(a, b));
  const head = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 4 * (last + 3)));
  const numbers = new Int8Array(bytes.buffer, bytes.byteOffset + head.byteLength);
  /** @type {(start: number, beam: number) => Float32Array} */
  const part = (start, beam) => {
    const values = Float32Array.from(rings, (ring, i) => numbers[start + i] * head[2 + ring]);
    values[u.indexOf(0)] = beam;
    return values;
  };
  return { real: part(0, head[0]), imaginary: part(u.length, head[1]) };
}

/**
 * Phase, relative to that of the mean, and amplitude of the wave that an `ImageFormer` has taken.
 * @param {import("./fourier.js").Lines} lines n lines of n, the wave's pixels.
 * @param {import("./image-former.js").ImageFormer} former after `setWave`.
 * @returns {{phase: Float32Array, amplitude: Float32Array}} (n, n), phase [rad], amplitude in units of the incident.
 */
export function waveMaps(lines, former) {
  const { size: n, data } = lines;
  data.fill(0);
  let mean = 0;
  former.from.forEach((place, i) => {
    data[2 * place] = former.real[i];
    data[2 * place + 1] = former.imaginary[i];
    if (place === 0) mean = Math.atan2(former.imaginary[i], former.real[i]);
  });
  lines.transformBoth(true);
  const [phase, amplitude] = [new Float32Array(n * n), new Float32Array(n * n)];
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      const [i, j] = beforeQuarters(x, y, n, former.quarters);
      const k = 2 * (n * j + i);
      const angle = Math.atan2(data[k + 1], data[k]) - mean;
      phase[n * x + y] = angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
      amplitude[n * x + y] = Math.hypot(data[k], data[k + 1]);
    }
  }
  return { phase, amplitude };
}
