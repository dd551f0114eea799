// @ts-check
// The contrast transfer with its envelopes, and the camera's transfer, as an SVG that follows the knobs.

import { mtf, sinc } from "../optics/camera.js";
import { contrastTransfer } from "../optics/contrast-transfer.js";
import { draw, percent, words } from "./controls.js";

const POINTS = 400;
const NAMES = /** @type {const} */ (["upper", "lower", "camera", "transfer"]);
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [270, 210, 22, 8, 18, 34];
const INNER = WIDTH - LEFT - RIGHT;
const HALF = (HEIGHT - TOP - BOTTOM) / 2;
const MIDDLE = TOP + HALF;

/** The curve for some optics and the lattice of gold. */
export class TransferCurve {
  /** @param {Catalogue} data */
  constructor({ optics, gold }) {
    const { aperture_per_A: last, wavelength_A: wavelength, field_A: field, camera_pixels: camera } = optics;
    this.last = last;
    this.wavelength = wavelength;
    this.pixel = field / camera;
    this.planes = 1 / gold.planes_111_A;
    const shape = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "play-curve" };
    /** @type {(name: string) => SVGPathElement} */
    const line = (name) => draw("path", { class: `play-curve-${name}` });
    this.lines = { upper: line("upper"), lower: line("lower"), camera: line("camera"), transfer: line("transfer") };
    this.element = draw("svg", shape, ...this.#axes(), ...Object.values(this.lines));
  }

  /** @param {number} q */
  #x(q) {
    return LEFT + (INNER * q) / this.last;
  }

  #axes() {
    /** @type {(x: number, y: number, anchor: string, content: string) => SVGTextElement} */
    const text = (x, y, anchor, content) => draw("text", { x, y, "text-anchor": anchor }, content);
    /** @type {SVGElement[]} */
    const parts = [draw("path", { class: "play-axis", d: `M${LEFT} ${MIDDLE}h${INNER}M${LEFT} ${TOP}v${2 * HALF}` })];
    for (const tick of [-1, 0, 1]) parts.push(text(LEFT - 6, MIDDLE - tick * HALF + 4, "end", words(tick)));
    for (let tick = 0; tick <= this.last; tick += 0.25) {
      parts.push(text(this.#x(tick), HEIGHT - BOTTOM + 15, "middle", words(tick, 2)));
    }
    parts.push(text(LEFT + INNER / 2, HEIGHT - 5, "middle", "spatial frequency [1/Å]"));
    const marks = [
      { name: "{111}", q: this.planes, beside: -3, anchor: "end" },
      { name: "Nyquist", q: 0.5 / this.pixel, beside: 3, anchor: "start" },
    ];
    for (const { name, q, beside, anchor } of marks) {
      parts.push(draw("path", { class: "play-axis play-mark", d: `M${this.#x(q)} ${TOP - 12}V${HEIGHT - BOTTOM}` }));
      parts.push(text(this.#x(q) + beside, TOP - 4, anchor, name));
    }
    return parts;
  }

  /**
   * Draw the curves for some settings.
   * @param {Instrument} settings
   */
  update(settings) {
    const paths = { upper: "", lower: "", camera: "", transfer: "" };
    for (let i = 0; i <= POINTS; i++) {
      const q = (i / POINTS) * this.last;
      const { transfer, envelope } = contrastTransfer(q, settings, this.wavelength);
      // In one direction, along the pixels' rows: a pixel integrates over its width.
      const camera = mtf(q, settings.mtf, this.pixel) * Math.abs(sinc(q * this.pixel));
      const values = { upper: envelope, lower: -envelope, camera, transfer };
      for (const name of NAMES) {
        const value = values[name];
        paths[name] += `${i ? "L" : "M"}${this.#x(q).toFixed(1)} ${(MIDDLE - HALF * value).toFixed(1)}`;
      }
    }
    for (const name of NAMES) this.lines[name].setAttribute("d", paths[name]);
    const { envelope } = contrastTransfer(this.planes, settings, this.wavelength);
    const text = `Contrast transfer at a defocus of ${words(settings.defocus_A)} Å; its envelope is`
      + ` ${percent(envelope, 0)} at the {111} planes of gold`;
    this.element.setAttribute("aria-label", text);
  }
}
