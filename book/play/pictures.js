// Grey pictures on canvases. Arrays are in the library's order: pixel [x, y] at `n * x + y`, x to the right, y upwards.

/** Show values as grey levels between `low` (black) and `high` (white). */
export function paint(canvas, values, low, high) {
  const n = canvas.width;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(n, n);
  const pixels = new Uint32Array(picture.data.buffer);
  const scale = 255 / (high - low || 1);
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      const grey = Math.max(0, Math.min(255, Math.round((values[n * x + y] - low) * scale)));
      pixels[n * (n - 1 - y) + x] = 0xff000000 | (grey * 0x10101);
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Show an image: its mean less and plus some standard deviations fill the grey scale. */
export function paintImage(canvas, image, deviations = 3) {
  const mean = image.reduce((a, b) => a + b) / image.length;
  const width = deviations * Math.sqrt(image.reduce((sum, value) => sum + (value - mean) ** 2, 0) / image.length);
  paint(canvas, image, mean - width, mean + width);
}

/** Values below which lie the given shares of all. */
export function quantiles(values, ...shares) {
  const sorted = Float32Array.from(values).sort();
  return shares.map((share) => sorted[Math.round(share * (sorted.length - 1))]);
}

/** Transform complex (n, n) data of `lines` along both axes; the result lies transposed, [y, x]. */
export function transformBoth(lines, backward) {
  const { size: n, data } = lines;
  lines.transform(backward);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const [a, b] = [2 * (n * i + j), 2 * (n * j + i)];
      [data[a], data[b]] = [data[b], data[a]];
      [data[a + 1], data[b + 1]] = [data[b + 1], data[a + 1]];
    }
  }
  lines.transform(backward);
}

/**
 * Decadic logarithm of the power spectrum of an image without its mean, as the library's `power_spectrum`.
 * @param {object} lines of `startFft`, n lines of n.
 * @param {Float32Array} image (n, n).
 * @returns {Float32Array} (n, n), zero frequency at [n / 2, n / 2].
 */
export function powerSpectrum(lines, image) {
  const { size: n, data } = lines;
  const mean = image.reduce((a, b) => a + b) / image.length;
  data.fill(0);
  image.forEach((value, i) => (data[2 * i] = value - mean));
  transformBoth(lines, false);
  const power = new Float32Array(n * n);
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      const k = 2 * (n * ((y + n / 2) % n) + ((x + n / 2) % n));
      power[n * x + y] = Math.log10(data[k] ** 2 + data[k + 1] ** 2 + 1e-12);
    }
  }
  // As in the library, the mean's place takes its neighbour's value.
  power[(n * n) / 2 + n / 2] = power[(n * n) / 2 + n / 2 + 1];
  return power;
}

/**
 * Phase, relative to that of the mean, and amplitude of the wave that an `ImageFormer` has taken.
 * @param {object} lines of `startFft`, n lines of n, the wave's pixels.
 * @param {object} former after `setWave`.
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
  transformBoth(lines, true);
  const [phase, amplitude] = [new Float32Array(n * n), new Float32Array(n * n)];
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      let [i, j] = [x, y];
      for (let quarter = 0; quarter < former.quarters; quarter++) [i, j] = [j, n - 1 - i];
      const k = 2 * (n * j + i);
      const angle = Math.atan2(data[k + 1], data[k]) - mean;
      phase[n * x + y] = angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
      amplitude[n * x + y] = Math.hypot(data[k], data[k + 1]);
    }
  }
  return { phase, amplitude };
}
