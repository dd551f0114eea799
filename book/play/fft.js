// Fourier transforms by PFFFT in WebAssembly. Its 39 kB lie in the bundle, because a page from the disk cannot fetch them.

import startPffft from "@echogarden/pffft-wasm/simd";

const COMPLEX = 1;
const FORWARD = 0;
const BACKWARD = 1;

/**
 * Start PFFFT.
 * @param {Uint8Array} wasm bytes of pffft.wasm.
 * @returns {Promise<(size: number, lines: number) => Lines>} makes buffers; all of them must be made before any is used,
 *   since memory that grows moves.
 */
export async function startFft(wasm) {
  if (typeof WebAssembly !== "object") {
    throw new Error("The picture needs WebAssembly, which this browser does not have or does not allow.");
  }
  const library = await startPffft({ wasmBinary: wasm });
  return (size, lines) => new Lines(library, size, lines);
}

/** Complex lines (lines, size), the real and imaginary parts side by side, transformed in place one by one. */
class Lines {
  /** `size` has no factors but 2, 3 and 5, and is a multiple of 16. */
  constructor(library, size, lines) {
    const bytes = 8 * size;
    Object.assign(this, { library, size, lines });
    this.setup = library._pffft_new_setup(size, COMPLEX);
    if (!this.setup) throw new Error(`${size} is not a size of this transform.`);
    this.start = library._pffft_aligned_malloc(bytes * lines);
    this.work = library._pffft_aligned_malloc(bytes);
  }

  /** Float32Array (2 * size * lines) on the lines. */
  get data() {
    return new Float32Array(this.library.HEAPF32.buffer, this.start, 2 * this.size * this.lines);
  }

  /** Transform lines first to end - 1; forwards with exp(-2πi jk/size), backwards with exp(+...), neither scaled. */
  transform(backward, first = 0, end = this.lines) {
    const direction = backward ? BACKWARD : FORWARD;
    for (let line = first; line < end; line++) {
      const place = this.start + 8 * this.size * line;
      this.library._pffft_transform_ordered(this.setup, place, place, this.work, direction);
    }
  }
}
