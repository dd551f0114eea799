// The contrast transfer with its envelopes, and the camera's transfer, as an SVG that follows the knobs.

import { draw, words } from "./controls.js";
import { mtf, phaseTransfer } from "./microscope.js";

const POINTS = 400;
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [270, 210, 22, 8, 18, 34];
const INNER = WIDTH - LEFT - RIGHT;
const HALF = (HEIGHT - TOP - BOTTOM) / 2;
const MIDDLE = TOP + HALF;

/** The curve for the optics and the lattice of the asset `waves`. */
export class TransferCurve {
  constructor({ optics, gold }) {
    const { aperture_per_A: last, wavelength_A: wavelength, field_A: field, camera_pixels: camera } = optics;
    Object.assign(this, { last, wavelength, pixel: field / camera, planes: 1 / gold.planes_111_A });
    const shape = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "play-curve" };
    this.lines = Object.fromEntries(["upper", "lower", "camera", "transfer"].map((name) => [
      name, draw("path", { class: `play-curve-${name}` }),
    ]));
    this.element = draw("svg", shape, ...this.#axes(), ...Object.values(this.lines));
  }

  #x(q) {
    return LEFT + (INNER * q) / this.last;
  }

  #axes() {
    const text = (x, y, anchor, content) => draw("text", { x, y, "text-anchor": anchor }, content);
    const parts = [draw("path", { class: "play-axis", d: `M${LEFT} ${MIDDLE}h${INNER}M${LEFT} ${TOP}v${2 * HALF}` })];
    for (const tick of [-1, 0, 1]) parts.push(text(LEFT - 6, MIDDLE - tick * HALF + 4, "end", words(tick)));
    for (let tick = 0; tick <= this.last; tick += 0.25) {
      parts.push(text(this.#x(tick), HEIGHT - BOTTOM + 15, "middle", words(tick, 2)));
    }
    parts.push(text(LEFT + INNER / 2, HEIGHT - 5, "middle", "spatial frequency [1/Å]"));
    const marks = [["{111}", this.planes, -3, "end"], ["Nyquist", 0.5 / this.pixel, 3, "start"]];
    for (const [name, q, beside, anchor] of marks) {
      parts.push(draw("path", { class: "play-axis play-mark", d: `M${this.#x(q)} ${TOP - 12}V${HEIGHT - BOTTOM}` }));
      parts.push(text(this.#x(q) + beside, TOP - 4, anchor, name));
    }
    return parts;
  }

  /** Draw the curves for some settings of `ImageFormer.form`. */
  update(settings) {
    const paths = { upper: "", lower: "", camera: "", transfer: "" };
    for (let i = 0; i <= POINTS; i++) {
      const q = (i / POINTS) * this.last;
      const { transfer, envelope } = phaseTransfer(q, settings, this.wavelength);
      const width = Math.PI * q * this.pixel;
      // In one direction, along the pixels' rows: a pixel integrates over its width.
      const camera = mtf(q, settings.mtf, this.pixel) * Math.abs(width ? Math.sin(width) / width : 1);
      for (const [name, value] of Object.entries({ upper: envelope, lower: -envelope, camera, transfer })) {
        paths[name] += `${i ? "L" : "M"}${this.#x(q).toFixed(1)} ${(MIDDLE - HALF * value).toFixed(1)}`;
      }
    }
    for (const [name, path] of Object.entries(paths)) this.lines[name].setAttribute("d", path);
    const { envelope } = phaseTransfer(this.planes, settings, this.wavelength);
    const text = `Contrast transfer at a defocus of ${words(settings.defocus_A)} Å; its envelope is`
      + ` ${words(100 * envelope)} % at the {111} planes of gold`;
    this.element.setAttribute("aria-label", text);
  }
}
