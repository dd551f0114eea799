// @ts-check
// Images from exit waves, as nanoshape_lib/simulation/imaging.py forms them: aberrations, focal modes, illumination,
// camera.

import { mtf, poisson, sinc } from "./camera.js";
import { aberration, convergenceEnvelope } from "./contrast-transfer.js";
import { signed } from "./fourier.js";
import { WaveTurner, beforeQuarters } from "./wave-turner.js";

/**
 * Forms images of one exit wave at a time. All buffers are made once.
 *
 * Arrays are in the library's order: pixel [x, y] at `size * x + y`.
 */
export class ImageFormer {
  /**
   * @param {import("./fourier.js").MakeLines} makeLines
   * @param {Optics} optics
   */
  constructor(makeLines, optics) {
    const { wave_pixels: n, intensity_pixels: p, camera_pixels: c } = optics;
    this.optics = optics;
    this.rows = makeLines(p, n);
    this.columns = makeLines(p, p);
    this.packed = makeLines(p, p / 2);
    this.camera = makeLines(c, c);
    this.intensity = new Float32Array(p * p);
    this.image = new Float32Array(c * c);
    /** Intensity on each pixel of the last image before the camera's transfer. */
    this.arriving = new Float32Array(c * c);
    const { from, to, u } = insideAperture(optics);
    this.from = from;
    this.to = to;
    /** Squares of the frequencies inside the aperture [1/Å²], row by row. */
    this.u = u;
    this.seenReal = new Float32Array(u.length);
    this.seenImaginary = new Float32Array(u.length);
    this.turner = new WaveTurner(makeLines, from, n);
    this.band = cameraBand(optics);
    this.real = this.imaginary = /** @type {Float32Array} */ (new Float32Array(u.length));
    this.quarters = 0;
  }

  /**
   * Take an exit wave by its spectrum on the frequencies inside the aperture, row by row.
   * @param {Float32Array} real of the spectrum divided by the number of the wave's pixels, as `unpackWave` gives it.
   * @param {Float32Array} imaginary
   * @param {number} turn in-plane angle [degrees], from x towards y; the carbon turns with the particle.
   */
  setWave(real, imaginary, turn = 0) {
    // Halves are rounded to the even number, as the library does.
    const near = Math.abs((turn / 90) % 1) === 0.5 ? 2 * Math.round(turn / 180) : Math.round(turn / 90);
    this.quarters = ((near % 4) + 4) % 4;
    const rest = turn - 90 * near;
    [this.real, this.imaginary] = rest === 0 ? [real, imaginary] : this.turner.turn(real, imaginary, rest);
  }

  /**
   * The image without noise (128, 128) in units of the incident intensity; the array is used again by the next call.
   * @param {Instrument} settings the focal spread is one of the tables `modes`.
   */
  form(settings) {
    this.#aberrate(settings);
    this.intensity.fill(0);
    for (const mode of this.optics.modes[settings.focal_spread_A]) this.#addMode(mode);
    return this.#record(settings);
  }

  /**
   * The last image with counting noise, filtered by the camera's transfer; a new array.
   * @param {number} dose [e/Å²].
   * @param {Mtf} transfer
   * @param {() => number} random uniform between 0 and 1.
   */
  noisy(dose, transfer, random) {
    const { camera_pixels: c, field_A: field } = this.optics;
    const camera = this.camera.data;
    const mean = dose * (field / c) ** 2;
    for (let i = 0; i < c * c; i++) {
      const expected = Math.max(this.arriving[i], 0);
      camera[2 * i] = poisson(expected * mean, random) / mean - expected;
      camera[2 * i + 1] = 0;
    }
    this.camera.transformBoth(false);
    for (let i = 0; i < c * c; i++) {
      const q = Math.hypot(signed(Math.floor(i / c), c), signed(i % c, c)) / field;
      const factor = mtf(q, transfer, field / c) / (c * c);
      camera[2 * i] *= factor;
      camera[2 * i + 1] *= factor;
    }
    this.camera.transformBoth(true);
    return this.image.map((value, i) => value + camera[2 * i]);
  }

  /** @param {Aberrations} settings */
  #aberrate(settings) {
    for (let i = 0; i < this.u.length; i++) {
      const chi = aberration(this.u[i], settings, this.optics.wavelength_A);
      const [cos, sin] = [Math.cos(chi), Math.sin(chi)];
      this.seenReal[i] = this.real[i] * cos + this.imaginary[i] * sin;
      this.seenImaginary[i] = this.imaginary[i] * cos - this.real[i] * sin;
    }
  }

  /**
   * Add the intensity of one coherent system. Only the wave's n rows of the padded spectrum hold anything.
   * @param {number[]} mode
   */
  #addMode(mode) {
    const { wave_pixels: n, intensity_pixels: p, aperture_per_A: aperture } = this.optics;
    const rows = this.rows.data;
    const steps = (mode.length - 1) / aperture ** 2;
    rows.fill(0);
    for (let i = 0; i < this.u.length; i++) {
      const place = Math.min(this.u[i] * steps, mode.length - 1);
      const below = Math.min(Math.floor(place), mode.length - 2);
      const weight = mode[below] + (place - below) * (mode[below + 1] - mode[below]);
      const k = 2 * this.to[i];
      rows[k] = this.seenReal[i] * weight;
      rows[k + 1] = this.seenImaginary[i] * weight;
    }
    this.rows.transform(true);
    const columns = this.columns.data;
    const half = n >> 1;
    for (let y = 0; y < p; y++) {
      const line = 2 * p * y;
      for (let x = 0; x < half; x++) {
        const k = 2 * (p * x + y);
        columns[line + 2 * x] = rows[k];
        columns[line + 2 * x + 1] = rows[k + 1];
      }
      columns.fill(0, line + 2 * half, line + 2 * (p - half));
      for (let x = half; x < n; x++) {
        const k = 2 * (p * x + y);
        const to = line + 2 * (x + p - n);
        columns[to] = rows[k];
        columns[to + 1] = rows[k + 1];
      }
    }
    this.columns.transform(true);
    for (let i = 0; i < p * p; i++) this.intensity[i] += columns[2 * i] ** 2 + columns[2 * i + 1] ** 2;
  }

  /**
   * Spectrum of the intensity, damped by illumination and camera, folded onto the camera's pixels.
   * @param {Instrument} settings
   */
  #record(settings) {
    const { intensity_pixels: p, camera_pixels: c, wavelength_A: wavelength, field_A: field } = this.optics;
    // The intensity lies as [y, x]. Two of its real lines make one complex line: x first, for all y.
    const packed = this.packed.data;
    for (let y = 0; y < p; y += 2) {
      for (let x = 0; x < p; x++) {
        packed[p * y + 2 * x] = this.intensity[p * y + x];
        packed[p * y + 2 * x + 1] = this.intensity[p * (y + 1) + x];
      }
    }
    this.packed.transform(false);
    // Unpack the 2c - 1 frequencies along x that the camera sees, and transform along y.
    const columns = this.columns.data;
    for (let kx = 1 - c; kx < c; kx++) {
      const [plus, minus] = [(kx + p) % p, (p - kx) % p];
      const line = 2 * p * (kx + c - 1);
      for (let y = 0; y < p; y += 2) {
        const [a, b] = [p * y + 2 * plus, p * y + 2 * minus];
        columns[line + 2 * y] = (packed[a] + packed[b]) / 2;
        columns[line + 2 * y + 1] = (packed[a + 1] - packed[b + 1]) / 2;
        columns[line + 2 * y + 2] = (packed[a + 1] + packed[b + 1]) / 2;
        columns[line + 2 * y + 3] = (packed[b] - packed[a]) / 2;
      }
    }
    this.columns.transform(false, 0, 2 * c - 1);

    const camera = this.camera.data;
    camera.fill(0);
    const { r2, pixel } = this.band;
    let i = 0;
    for (let kx = 1 - c; kx < c; kx++) {
      for (let ky = 0; ky < c; ky++, i++) {
        const arriving = convergenceEnvelope(r2[i], settings, wavelength) / (p * p);
        const damp = arriving * mtf(Math.sqrt(r2[i]), settings.mtf, field / c);
        const k = 2 * (p * (kx + c - 1) + ky);
        const re = columns[k] * pixel[2 * i] - columns[k + 1] * pixel[2 * i + 1];
        const im = columns[k] * pixel[2 * i + 1] + columns[k + 1] * pixel[2 * i];
        // One complex transform makes two real images, each of which has conjugate values at opposite frequencies.
        add(camera, c, kx, ky, re * damp - im * arriving, im * damp + re * arriving);
        if (ky > 0) add(camera, c, -kx, -ky, re * damp + im * arriving, re * arriving - im * damp);
      }
    }
    this.camera.transformBoth(true);
    for (let x = 0; x < c; x++) {
      for (let y = 0; y < c; y++) {
        const [i, j] = beforeQuarters(x, y, c, this.quarters);
        this.image[c * x + y] = camera[2 * (c * j + i)];
        this.arriving[c * x + y] = camera[2 * (c * j + i) + 1];
      }
    }
    return this.image;
  }
}

/**
 * Frequencies inside the aperture: where they lie in the wave's spectrum and in the padded rows, and q².
 * @param {Optics} optics
 */
function insideAperture({ wave_pixels: n, intensity_pixels: p, field_A: field, aperture_per_A: aperture }) {
  const inside = [];
  for (let x = 0; x < n; x++) {
    for (let y = 0; y < n; y++) {
      const ky = signed(y, n);
      const u = (signed(x, n) ** 2 + ky ** 2) / field ** 2;
      if (u <= aperture ** 2) inside.push({ from: n * x + y, to: p * x + ((ky + p) % p), u });
    }
  }
  return {
    from: Int32Array.from(inside, ({ from }) => from),
    to: Int32Array.from(inside, ({ to }) => to),
    u: Float64Array.from(inside, ({ u }) => u),
  };
}

/**
 * The camera's band: 2c - 1 frequencies along x, c along y; their q², and the integration over a pixel and its place.
 * @param {Optics} optics
 */
function cameraBand({ camera_pixels: c, field_A: field }) {
  const size = (2 * c - 1) * c;
  const [r2, pixel] = [new Float64Array(size), new Float64Array(2 * size)];
  const width = field / c;
  let i = 0;
  for (let kx = 1 - c; kx < c; kx++) {
    for (let ky = 0; ky < c; ky++, i++) {
      const [qx, qy] = [kx / field, ky / field];
      const area = sinc(qx * width) * sinc(qy * width);
      r2[i] = qx ** 2 + qy ** 2;
      pixel[2 * i] = area * Math.cos(Math.PI * width * (qx + qy));
      pixel[2 * i + 1] = area * Math.sin(Math.PI * width * (qx + qy));
    }
  }
  return { r2, pixel };
}

/**
 * Add a number to a frequency of the camera's spectrum (c, c), folded into it.
 * @param {Float32Array} camera
 * @param {number} c
 * @param {number} kx
 * @param {number} ky
 * @param {number} re
 * @param {number} im
 */
function add(camera, c, kx, ky, re, im) {
  const k = 2 * (c * ((kx + 2 * c) % c) + ((ky + 2 * c) % c));
  camera[k] += re;
  camera[k + 1] += im;
}
