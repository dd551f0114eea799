// @ts-check
// The field that the classifier takes, cut out of an image and resampled to pixels of 1.0 Å.

import { sinc } from "./camera.js";
import { mean } from "./statistics.js";

/** Side of the images that the network takes [pixels of 1.0 Å]. */
export const PIXELS = 128;
/** Side of the finest pixels [Å] that are resampled. */
export const SMALLEST_PIXEL_A = 0.05;
const MARGIN_A = 16;
const LARGEST_PIXEL_A = 1.25;
const FINE_PIXEL_A = 0.3;

/** @typedef {{pixels: Float32Array, width: number, height: number}} Grid `pixels[width * row + column]`. */

/**
 * Cut the field of the classifier, 128 Å by 128 Å, out of an image.
 *
 * Resampled in Fourier space to pixels of 1.0 Å as if they had integrated over 1.0 Å instead of the image's own pixel:
 * factor sinc(q * 1 Å) / sinc(q * pixelSize_A). Detail and noise beyond 0.5 / Å fold back, as in such a camera. The 16 Å
 * around the field are used, too, and fade out over their outer half; beyond the edge of the image its last pixels are
 * repeated.
 * Pixels of up to 0.15 Å are joined first, to at most 0.3 Å, to be quick.
 * @param {Grid} image rows from the top
 * @param {number} pixelSize_A side of its pixels [Å], 0.05 to 1.25
 * @param {{row: number, column: number}} [centre] middle of the field in pixels, (0, 0) the middle of the first;
 *   the image's middle unless given, and moved so that the field lies inside the image
 * @returns {{image: Float32Array, centre: {row: number, column: number}}} image (128 * 128) for `classify`,
 *   `image[128 * row + column]`, rows from the top, the order of the library's micrographs; and the middle that was
 *   used. Simulated images run [x, y] instead; the network knows particles in any turn and mirrored.
 * @throws {Error} one sentence if the pixel size is not allowed, the image shows less than the field or nothing in it
 */
export function resampleField(image, pixelSize_A, centre = { row: (image.height - 1) / 2, column: (image.width - 1) / 2 }) {
  if (!(pixelSize_A >= SMALLEST_PIXEL_A && pixelSize_A <= LARGEST_PIXEL_A)) {
    const range = `between ${SMALLEST_PIXEL_A} and ${LARGEST_PIXEL_A} Å`;
    throw new Error(`The pixel size is ${pixelSize_A} Å, but must lie ${range} to show the lattice of gold.`);
  }
  const shown_A = Math.min(image.width, image.height) * pixelSize_A;
  if (shown_A < PIXELS * (1 - 1e-9)) {
    throw new Error(`The image is ${shown_A.toFixed(0)} Å wide or high, but the classifier needs ${PIXELS} Å.`);
  }
  const factor = Math.max(1, Math.floor(FINE_PIXEL_A / pixelSize_A));
  const { pixels, width, height } = joined(image, factor);
  const offset = (factor - 1) / 2;
  const rows = resampling((centre.row - offset) / factor, height, pixelSize_A * factor);
  const columns = resampling((centre.column - offset) / factor, width, pixelSize_A * factor);
  const size = rows.sources.length;
  const level = mean(Array.from(rows.sources, (row) => mean(Float64Array.from(columns.sources,
    (column) => pixels[width * row + column]))));
  const halfway = new Float64Array(PIXELS * size);
  for (let k = 0; k < size; k++) {
    const start = width * rows.sources[k];
    const line = Float64Array.from(columns.sources, (column) => pixels[start + column] - level);
    for (let i = 0; i < PIXELS; i++) {
      const weight = rows.weights[i * size + k];
      for (let m = 0; m < size; m++) halfway[i * size + m] += weight * line[m];
    }
  }
  const field = new Float32Array(PIXELS * PIXELS);
  for (let i = 0; i < PIXELS; i++) {
    for (let j = 0; j < PIXELS; j++) {
      let sum = 0;
      for (let m = 0; m < size; m++) sum += halfway[i * size + m] * columns.weights[j * size + m];
      field[PIXELS * i + j] = level + sum;
    }
  }
  if (field.every((value) => Math.abs(value - field[0]) <= 1e-6 * Math.abs(field[0]))) {
    throw new Error("The image is the same everywhere in the field that was chosen.");
  }
  return { image: field, centre: { row: rows.middle * factor + offset, column: columns.middle * factor + offset } };
}

/**
 * An image of fewer pixels, each the mean of factor * factor.
 * @param {Grid} image
 * @param {number} factor
 * @returns {Grid}
 */
function joined({ pixels, width, height }, factor) {
  if (factor === 1) return { pixels, width, height };
  const [columns, rows] = [Math.floor(width / factor), Math.floor(height / factor)];
  const means = new Float32Array(rows * columns);
  for (let row = 0; row < rows * factor; row++) {
    const [from, to] = [width * row, columns * Math.floor(row / factor)];
    for (let column = 0; column < columns * factor; column++) {
      means[to + Math.floor(column / factor)] += pixels[from + column] / factor ** 2;
    }
  }
  return { pixels: means, width: columns, height: rows };
}

/**
 * Along one axis: the field's middle [pixels], the n source pixels, and their weights (128 * n) in the field's.
 * @param {number} centre wanted middle [pixels].
 * @param {number} length of the image [pixels].
 * @param {number} pixel_A
 */
function resampling(centre, length, pixel_A) {
  const half = (PIXELS / pixel_A - 1) / 2;
  const middle = Math.max(half, Math.min(length - 1 - half, centre));
  const n = Math.ceil((PIXELS + 2 * MARGIN_A) / pixel_A);
  const corner = Math.round(middle - (n - 1) / 2);
  const sources = Int32Array.from({ length: n }, (_, k) => Math.max(0, Math.min(length - 1, corner + k)));
  // Fourier coefficients of the kernel at q = j / (n * pixel_A), those of -q included.
  const filter = [1 / n];
  for (let j = 1; j <= n / 2; j++) {
    const q = j / (n * pixel_A);
    filter.push(((2 * j === n ? 1 : 2) * sinc(q)) / sinc(q * pixel_A) / n);
  }
  const weights = new Float64Array(PIXELS * n);
  for (let k = 0; k < n; k++) {
    const depth_A = (Math.min(k, n - 1 - k) + 0.5) * pixel_A;
    const taper = 0.5 - 0.5 * Math.cos(Math.PI * Math.min(1, (2 * depth_A) / MARGIN_A));
    for (let i = 0; i < PIXELS; i++) {
      const distance_A = i - (PIXELS - 1) / 2 + (middle - corner - k) * pixel_A;
      weights[i * n + k] = taper * cosineSum(filter, (2 * Math.PI * distance_A) / (n * pixel_A));
    }
  }
  return { middle, sources, weights };
}

/**
 * The sum over j of filter[j] * cos(j * angle), by the recurrence of the cosines.
 * @param {number[]} filter
 * @param {number} angle
 */
function cosineSum(filter, angle) {
  const twice = 2 * Math.cos(angle);
  let [before, now, sum] = [1, twice / 2, filter[0]];
  for (let j = 1; j < filter.length; j++) {
    sum += filter[j] * now;
    [before, now] = [now, twice * now - before];
  }
  return sum;
}
