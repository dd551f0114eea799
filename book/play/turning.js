// Turning an exit wave in its plane, without interpolation, as nanoshape_lib/imaging.py does.

import { signed } from "./microscope.js";

/** Side of the grid on which a wave of n pixels is turned: a shear by 45 degrees widens the band by the factor 1.08. */
export const turningSize = (n) => (n / 8) * 9;

/** Turns waves by three shears, each exact in Fourier space (Unser, Thévenaz & Yaroslavsky 1995). */
export class Turner {
  /**
   * @param {object} lines of `startFft`, `turningSize(n)` lines of that size.
   * @param {Int32Array} from places of the frequencies inside the aperture in a wave's spectrum (n, n).
   * @param {number} n the wave's pixels.
   */
  constructor(lines, from, n) {
    const m = lines.size;
    this.lines = lines;
    this.spare = new Float32Array(2 * m * m);
    this.places = from.map((place) => {
      const [x, y] = [signed(Math.floor(place / n), n), signed(place % n, n)];
      return 2 * (m * ((x + m) % m) + ((y + m) % m));
    });
  }

  /**
   * The spectrum of a wave turned from x towards y.
   * @param {Float32Array} real on the frequencies inside the aperture.
   * @param {Float32Array} imaginary
   * @param {number} degrees -45 to 45.
   * @returns {Float32Array[]} its real and imaginary parts.
   */
  turn(real, imaginary, degrees) {
    const { lines, places } = this;
    const { size: m, data } = lines;
    const angle = (degrees * Math.PI) / 180;
    data.fill(0);
    real.forEach((value, i) => {
      data[places[i]] = value;
      data[places[i] + 1] = imaginary[i];
    });
    const flip = () => {
      transpose(data, this.spare, m, m);
      data.set(this.spare);
    };
    // q x, with q the frequency of one index and x the distance of the other from the field's centre.
    const shear = (slope, alongLines) => {
      for (let i = 0; i < m; i++) {
        const unit = (2 * Math.PI * slope * (alongLines ? i - m / 2 : signed(i, m))) / m;
        const [stepCos, stepSin] = [Math.cos(unit), Math.sin(unit)];
        const edge = (-unit * m) / 2;
        let [cos, sin] = alongLines ? [1, 0] : [Math.cos(edge), Math.sin(edge)];
        for (let j = 0; j < m; j++) {
          if (alongLines && 2 * j === m) {
            cos = Math.cos(edge);
            sin = Math.sin(edge);
          }
          const k = 2 * (m * i + j);
          const [re, im] = [data[k], data[k + 1]];
          data[k] = re * cos - im * sin;
          data[k + 1] = re * sin + im * cos;
          const before = cos;
          cos = before * stepCos - sin * stepSin;
          sin = before * stepSin + sin * stepCos;
        }
      }
    };
    lines.transform(true);
    shear(Math.tan(angle / 2), false);
    flip();
    lines.transform(true);
    flip();
    lines.transform(false);
    shear(-Math.sin(angle), true);
    lines.transform(true);
    flip();
    lines.transform(false);
    flip();
    shear(Math.tan(angle / 2), false);
    lines.transform(false);
    const scale = 1 / m ** 3;
    return [real.map((_, i) => data[places[i]] * scale), imaginary.map((_, i) => data[places[i] + 1] * scale)];
  }
}

/** Complex (rows, columns) to (columns, rows). */
export function transpose(from, to, rows, columns) {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      to[2 * (rows * j + i)] = from[2 * (columns * i + j)];
      to[2 * (rows * j + i) + 1] = from[2 * (columns * i + j) + 1];
    }
  }
}
