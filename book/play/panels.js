// Beside the image: phase and amplitude of the exit wave, power spectrum and contrast transfer.

import { make, words } from "./controls.js";
import { TransferCurve } from "./curve.js";
import { paint, powerSpectrum, quantiles, waveMaps } from "./pictures.js";

/** Four figures that follow the wave and the image. */
export class Panels {
  /**
   * @param {object} data the asset `waves`.
   * @param {(size: number, lines: number) => object} makeLines from `startFft`.
   */
  constructor(data, makeLines) {
    const { wave_pixels: n, camera_pixels: c, field_A: field } = data.optics;
    Object.assign(this, { waveLines: makeLines(n, n), imageLines: makeLines(c, c), field, camera: c });
    this.phase = picture(n);
    this.amplitude = picture(n);
    this.spectrum = picture(c);
    this.curve = new TransferCurve(data);
    // Zero frequency is the middle of pixel c / 2, counted from the left and from below.
    const ring = make("span", { className: "play-ring", attributes: { "aria-hidden": "true" } });
    const radius = field / data.gold.planes_111_A / c;
    const place = { left: 0.5 + 0.5 / c - radius, top: 0.5 - 0.5 / c - radius, width: 2 * radius, height: 2 * radius };
    for (const [side, share] of Object.entries(place)) ring.style[side] = `${100 * share}%`;
    this.spectrum.canvas.after(ring);
    const edge = words((0.5 * c) / field, 2);
    const planes = words(data.gold.planes_111_A, 2);
    this.spectrum.tell(
      `power spectrum of the image (logarithm) up to ${edge} Å⁻¹; ring: {111} planes of gold, 1/${planes} Å`,
    );
    const legend = "contrast transfer (solid), its coherence envelope (dashed), and the camera's transfer (dotted)";
    const transfer = make("figure", {}, this.curve.element, make("figcaption", {}, legend));
    const shown = [this.phase, this.amplitude, this.spectrum].map(({ element }) => element);
    this.element = make("div", { className: "play-panels" }, ...shown, transfer);
  }

  /** Show the wave that an `ImageFormer` has taken. */
  showWave(former) {
    const maps = waveMaps(this.waveLines, former);
    for (const [name, unit] of [["phase", "rad"], ["amplitude", "times the incident"]]) {
      const [low, high] = quantiles(maps[name], 0.002, 0.998);
      paint(this[name].canvas, maps[name], low, high);
      this[name].tell(`${name} of the exit wave: black ${words(low, 2)}, white ${words(high, 2)} ${unit}`);
    }
  }

  /** Show the power spectrum of an image. */
  showSpectrum(image) {
    const power = powerSpectrum(this.imageLines, image);
    paint(this.spectrum.canvas, power, ...quantiles(power, 0.05, 0.9995));
  }
}

function picture(pixels) {
  const canvas = make("canvas", { width: pixels, height: pixels, attributes: { role: "img" } });
  const caption = make("figcaption");
  const tell = (text) => {
    caption.textContent = text;
    canvas.setAttribute("aria-label", text);
  };
  return { canvas, tell, element: make("figure", {}, make("div", { className: "play-frame" }, canvas), caption) };
}
