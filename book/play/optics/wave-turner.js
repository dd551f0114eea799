// @ts-check
// Turning an exit wave in its plane, without interpolation, as nanoshape_lib/simulation/imaging.py does.

import { signed } from "./fourier.js";

/**
 * Place whose value comes to [x, y] when an image (n, n) is turned by quarters from x towards y.
 * @param {number} x
 * @param {number} y
 * @param {number} n
 * @param {number} quarters
 */
export function beforeQuarters(x, y, n, quarters) {
  let [i, j] = [x, y];
  for (let quarter = 0; quarter < quarters; quarter++) [i, j] = [j, n - 1 - i];
  return [i, j];
}

/** Turns waves by three shears, each exact in Fourier space (Unser, Thévenaz & Yaroslavsky 1995). */
export class WaveTurner {
  /**
   * @param {import("./fourier.js").MakeLines} makeLines
   * @param {Int32Array} from places of the frequencies inside the aperture in a wave's spectrum (n, n).
   * @param {number} n the wave's pixels.
   */
  constructor(makeLines, from, n) {
    // A shear by 45 degrees widens the band by the factor 1.08.
    const m = (n / 8) * 9;
    this.lines = makeLines(m, m);
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
   * @returns {[Float32Array, Float32Array]} its real and imaginary parts.
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
    /**
     * Multiply by exp(i slope q x), q the frequency of one index and x the distance of the other from the centre.
     * @param {number} slope
     * @param {boolean} alongLines whether q is the frequency along the lines.
     */
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
    lines.transpose();
    lines.transform(true);
    lines.transpose();
    lines.transform(false);
    shear(-Math.sin(angle), true);
    lines.transform(true);
    lines.transpose();
    lines.transform(false);
    lines.transpose();
    shear(Math.tan(angle / 2), false);
    lines.transform(false);
    const scale = 1 / m ** 3;
    return [real.map((_, i) => data[places[i]] * scale), imaginary.map((_, i) => data[places[i] + 1] * scale)];
  }
}
