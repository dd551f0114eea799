// @ts-check
// Fourier transforms by PFFFT in WebAssembly. Its 39 kB are an asset, because a page from the disk cannot fetch them.

import startPffft from "@echogarden/pffft-wasm/simd";
import { mean } from "./statistics.js";

const COMPLEX = 1;
const FORWARD = 0;
const BACKWARD = 1;

/** @typedef {(size: number, lines: number) => Lines} MakeLines */

/**
 * Start PFFFT.
 * @param {Uint8Array} wasm bytes of pffft.wasm.
 * @returns {Promise<MakeLines>} makes buffers; all of them must be made before any is used, since memory that grows
 *   moves.
 */
export async function startFourier(wasm) {
  if (typeof WebAssembly !== "object") {
    throw new Error("The picture needs WebAssembly, which this browser does not have or does not allow.");
  }
  const library = await startPffft({ wasmBinary: wasm });
  return (size, lines) => new Lines(library, size, lines);
}

/** Complex lines (lines, size), the real and imaginary parts side by side, transformed in place one by one. */
export class Lines {
  /**
   * @param {import("@echogarden/pffft-wasm/simd").Pffft} library
   * @param {number} size has no factors but 2, 3 and 5, and is a multiple of 16.
   * @param {number} lines
   */
  constructor(library, size, lines) {
    const bytes = 8 * size;
    this.library = library;
    this.size = size;
    this.lines = lines;
    this.setup = library._pffft_new_setup(size, COMPLEX);
    if (!this.setup) throw new Error(`${size} is not a size of this transform.`);
    this.start = library._pffft_aligned_malloc(bytes * lines);
    this.work = library._pffft_aligned_malloc(bytes);
  }

  /** Float32Array (2 * size * lines) on the lines. */
  get data() {
    return new Float32Array(this.library.HEAPF32.buffer, this.start, 2 * this.size * this.lines);
  }

  /**
   * Transform lines first to end - 1; forwards with exp(-2πi jk/size), backwards with exp(+...), neither scaled.
   * @param {boolean} backward
   */
  transform(backward, first = 0, end = this.lines) {
    const direction = backward ? BACKWARD : FORWARD;
    for (let line = first; line < end; line++) {
      const place = this.start + 8 * this.size * line;
      this.library._pffft_transform_ordered(this.setup, place, place, this.work, direction);
    }
  }

  /** Transpose lines that are as many as each is long. */
  transpose() {
    const { size: n, data } = this;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < i; j++) {
        const [a, b] = [2 * (n * i + j), 2 * (n * j + i)];
        [data[a], data[b]] = [data[b], data[a]];
        [data[a + 1], data[b + 1]] = [data[b + 1], data[a + 1]];
      }
    }
  }

  /**
   * Transform along both axes; the result lies transposed, [y, x].
   * @param {boolean} backward
   */
  transformBoth(backward) {
    this.transform(backward);
    this.transpose();
    this.transform(backward);
  }
}

/**
 * Index of bin k of n in the order of a Fourier transform, as a signed frequency step.
 * @param {number} k
 * @param {number} n
 */
export function signed(k, n) {
  return k < (n + 1) >> 1 ? k : k - n;
}

/**
 * Decadic logarithm of the power spectrum of an image without its mean, as the library's `power_spectrum`.
 * @param {Lines} lines n lines of n.
 * @param {Float32Array} image (n, n).
 * @returns {Float32Array} (n, n), zero frequency at [n / 2, n / 2].
 */
export function powerSpectrum(lines, image) {
  const { size: n, data } = lines;
  const level = mean(image);
  data.fill(0);
  image.forEach((value, i) => (data[2 * i] = value - level));
  lines.transformBoth(false);
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
