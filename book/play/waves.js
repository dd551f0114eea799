// Stored exit waves: one byte a number, see nanoshape_lib/page/waves.py.

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
  const part = (start, beam) => {
    const values = Float32Array.from(rings, (ring, i) => numbers[start + i] * head[2 + ring]);
    values[u.indexOf(0)] = beam;
    return values;
  };
  return { real: part(0, head[0]), imaginary: part(u.length, head[1]) };
}
