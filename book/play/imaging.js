// Images from exit waves, as nanoshape_lib/imaging.py forms them: aberrations, focal modes, illumination, camera.

import { mtf, signed } from "./microscope.js";
import { poisson } from "./noise.js";
import { Turner, transpose, turningSize } from "./turning.js";

/**
 * Forms images of one exit wave at a time. All buffers are made once.
 *
 * Arrays are in the library's order: pixel [x, y] at `size * x + y`.
 */
export class ImageFormer {
  /**
   * @param {(size: number, lines: number) => object} makeLines from `startFft`.
   * @param {object} optics from the library: `field_A`, `wavelength_A`, `aperture_per_A`, `wave_pixels`,
   *   `intensity_pixels`, `camera_pixels`, and `modes`, the tables (m, 129) by focal spread [Å].
   */
  constructor(makeLines, optics) {
    this.optics = optics;
    const { wave_pixels: n, intensity_pixels: p, camera_pixels: c, field_A: field } = optics;
    this.rows = makeLines(p, n);
    this.columns = makeLines(p, p);
    this.packed = makeLines(p, p / 2);
    this.camera = makeLines(c, c);
    const turning = makeLines(turningSize(n), turningSize(n));
    this.intensity = new Float32Array(p * p);
    this.image = new Float32Array(c * c);
    this.arriving = new Float32Array(c * c);
    this.flipped = new Float32Array(2 * c * c);
    this.#listAperture(n, p, field, optics.aperture_per_A);
    this.turner = new Turner(turning, this.from, n);
    this.#listBand(c, field);
  }

  /** Frequencies inside the aperture: where they lie in the wave's spectrum and in the padded rows, and q². */
  #listAperture(n, p, field, aperture) {
    const inside = [];
    for (let x = 0; x < n; x++) {
      for (let y = 0; y < n; y++) {
        const [kx, ky] = [signed(x, n), signed(y, n)];
        const u = (kx ** 2 + ky ** 2) / field ** 2;
        if (u <= aperture ** 2) inside.push([n * x + y, p * x + ((ky + p) % p), u]);
      }
    }
    this.from = Int32Array.from(inside, (each) => each[0]);
    this.to = Int32Array.from(inside, (each) => each[1]);
    this.u = Float64Array.from(inside, (each) => each[2]);
    this.seenReal = new Float32Array(inside.length);
    this.seenImaginary = new Float32Array(inside.length);
  }

  /** The camera's band: 2c - 1 frequencies along x, c along y, their q², and the integration over a pixel. */
  #listBand(c, field) {
    const size = (2 * c - 1) * c;
    Object.assign(this, { r2: new Float64Array(size), pixel: new Float64Array(2 * size), blur: new Float64Array(size) });
    const width = field / c;
    const sinc = (t) => (t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t));
    let i = 0;
    for (let kx = 1 - c; kx < c; kx++) {
      for (let ky = 0; ky < c; ky++, i++) {
        const [qx, qy] = [kx / field, ky / field];
        const area = sinc(qx * width) * sinc(qy * width);
        this.r2[i] = qx ** 2 + qy ** 2;
        this.pixel[2 * i] = area * Math.cos(Math.PI * width * (qx + qy));
        this.pixel[2 * i + 1] = area * Math.sin(Math.PI * width * (qx + qy));
      }
    }
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
   * Beside it, `arriving` is the intensity on each pixel before the camera's transfer.
   * @param {object} settings `defocus_A`, `Cs_A`, `focal_spread_A` (one of the tables), `convergence_mrad`, and `mtf`.
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
   * @param {object} transfer `c1`, `c2` and `c3` of the transfer function.
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
    const both = (backward) => {
      this.camera.transform(backward);
      transpose(camera, this.flipped, c, c);
      camera.set(this.flipped);
      this.camera.transform(backward);
    };
    both(false);
    for (let i = 0; i < c * c; i++) {
      const q = Math.hypot(signed(Math.floor(i / c), c), signed(i % c, c)) / field;
      const factor = mtf(q, transfer, field / c) / (c * c);
      camera[2 * i] *= factor;
      camera[2 * i + 1] *= factor;
    }
    both(true);
    return this.image.map((value, i) => value + camera[2 * i]);
  }

  #aberrate({ defocus_A, Cs_A }) {
    const { wavelength_A: wavelength } = this.optics;
    const half = 0.5 * wavelength ** 2 * Cs_A;
    for (let i = 0; i < this.u.length; i++) {
      const phase = -Math.PI * wavelength * this.u[i] * (-defocus_A + half * this.u[i]);
      const [cos, sin] = [Math.cos(phase), Math.sin(phase)];
      this.seenReal[i] = this.real[i] * cos - this.imaginary[i] * sin;
      this.seenImaginary[i] = this.real[i] * sin + this.imaginary[i] * cos;
    }
  }

  /** Add the intensity of one coherent system. Only the wave's n rows of the padded spectrum hold anything. */
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

  /** Spectrum of the intensity, damped by illumination and camera, folded onto the camera's pixels. */
  #record({ defocus_A, Cs_A, convergence_mrad, mtf: transfer }) {
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
    const tilt = (Math.PI * 1e-3 * convergence_mrad) ** 2;
    let i = 0;
    for (let kx = 1 - c; kx < c; kx++) {
      for (let ky = 0; ky < c; ky++, i++) {
        const r2 = this.r2[i];
        const slope = -defocus_A + wavelength ** 2 * Cs_A * r2;
        const arriving = Math.exp(-tilt * r2 * slope * slope) / (p * p);
        const damp = arriving * mtf(Math.sqrt(r2), transfer, field / c);
        const k = 2 * (p * (kx + c - 1) + ky);
        const re = columns[k] * this.pixel[2 * i] - columns[k + 1] * this.pixel[2 * i + 1];
        const im = columns[k] * this.pixel[2 * i + 1] + columns[k + 1] * this.pixel[2 * i];
        // One complex transform makes two real images, each of which has conjugate values at opposite frequencies.
        add(camera, c, kx, ky, re * damp - im * arriving, im * damp + re * arriving);
        if (ky > 0) add(camera, c, -kx, -ky, re * damp + im * arriving, re * arriving - im * damp);
      }
    }
    this.camera.transform(true);
    transpose(camera, this.flipped, c, c);
    camera.set(this.flipped);
    this.camera.transform(true);
    for (let x = 0; x < c; x++) {
      for (let y = 0; y < c; y++) {
        let [i, j] = [x, y];
        for (let quarter = 0; quarter < this.quarters; quarter++) [i, j] = [j, c - 1 - i];
        this.image[c * x + y] = camera[2 * (c * j + i)];
        this.arriving[c * x + y] = camera[2 * (c * j + i) + 1];
      }
    }
    return this.image;
  }
}

function add(camera, c, kx, ky, re, im) {
  const k = 2 * (c * ((kx + 2 * c) % c) + ((ky + 2 * c) % c));
  camera[k] += re;
  camera[k + 1] += im;
}
