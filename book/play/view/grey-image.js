// @ts-check
// Grey pictures on canvases. Arrays are in the library's order: pixel [x, y] at `n * x + y`, x to the right, y upwards.

import { deviation, mean } from "../optics/statistics.js";

/** @typedef {Float32Array | Float64Array | Uint8Array} Values */

/**
 * The context of a canvas.
 * @param {HTMLCanvasElement} canvas
 */
export function context2d(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * Show values as grey levels between `low` (black) and `high` (white); what is no number stays empty.
 * @param {HTMLCanvasElement} canvas
 * @param {Values} values
 * @param {number} low
 * @param {number} high
 */
export function paint(canvas, values, low, high) {
  const n = canvas.width;
  const context = context2d(canvas);
  const picture = context.createImageData(n, n);
  const pixels = new Uint32Array(picture.data.buffer);
  const scale = 255 / (high - low || 1);
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      const grey = Math.max(0, Math.min(255, Math.round((values[n * x + y] - low) * scale)));
      pixels[n * (n - 1 - y) + x] = Number.isNaN(grey) ? 0 : 0xff000000 | (grey * 0x10101);
    }
  }
  context.putImageData(picture, 0, 0);
}

/**
 * Show an image: its mean less and plus three standard deviations fill the grey scale.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} image
 */
export function paintImage(canvas, image) {
  const known = image.filter((value) => Number.isFinite(value));
  const [middle, width] = [mean(known), 3 * deviation(known)];
  paint(canvas, image, middle - width, middle + width);
}

/**
 * An image (n, n) whose rows run from the top, in the library's order.
 * @param {Float32Array} rows
 * @param {number} n
 */
export function fromRows(rows, n) {
  return rows.map((_, i) => rows[n * (n - 1 - (i % n)) + Math.floor(i / n)]);
}
