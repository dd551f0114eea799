// @ts-check
// Beside the image: phase and amplitude of the exit wave, power spectrum and contrast transfer.

import { waveMaps } from "../optics/exit-wave.js";
import { powerSpectrum } from "../optics/fourier.js";
import { quantiles } from "../optics/statistics.js";
import { make, words } from "./controls.js";
import { paint } from "./grey-image.js";
import { TransferCurve } from "./transfer-curve.js";

/** Four figures that follow the wave and the image. */
export class WavePanels {
  /**
   * @param {Catalogue} data
   * @param {import("../optics/fourier.js").MakeLines} makeLines
   */
  constructor(data, makeLines) {
    const { wave_pixels: n, camera_pixels: c, field_A: field } = data.optics;
    this.waveLines = makeLines(n, n);
    this.imageLines = makeLines(c, c);
    this.phase = picture(n);
    this.amplitude = picture(n);
    this.spectrum = picture(c);
    this.curve = new TransferCurve(data);
    // Zero frequency is the middle of pixel c / 2, counted from the left and from below.
    const ring = make("span", { className: "play-ring", attributes: { "aria-hidden": "true" } });
    const radius = field / data.gold.planes_111_A / c;
    const place = { left: 0.5 + 0.5 / c - radius, top: 0.5 - 0.5 / c - radius, width: 2 * radius, height: 2 * radius };
    for (const [side, share] of Object.entries(place)) ring.style.setProperty(side, `${100 * share}%`);
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

  /**
   * Show the wave that an image former has taken.
   * @param {import("../optics/image-former.js").ImageFormer} former
   */
  showWave(former) {
    const maps = waveMaps(this.waveLines, former);
    const units = /** @type {const} */ ({ phase: "rad", amplitude: "times the incident" });
    for (const name of /** @type {const} */ (["phase", "amplitude"])) {
      const [low, high] = quantiles(maps[name], 0.002, 0.998);
      paint(this[name].canvas, maps[name], low, high);
      this[name].tell(`${name} of the exit wave: black ${words(low, 2)}, white ${words(high, 2)} ${units[name]}`);
    }
  }

  /**
   * Show the power spectrum of an image.
   * @param {Float32Array} image
   */
  showSpectrum(image) {
    const power = powerSpectrum(this.imageLines, image);
    const [low, high] = quantiles(power, 0.05, 0.9995);
    paint(this.spectrum.canvas, power, low, high);
  }
}

/** @param {number} pixels */
function picture(pixels) {
  const canvas = make("canvas", { width: pixels, height: pixels, attributes: { role: "img" } });
  const caption = make("figcaption");
  /** @type {(text: string) => void} */
  const tell = (text) => {
    caption.textContent = text;
    canvas.setAttribute("aria-label", text);
  };
  return { canvas, tell, element: make("figure", {}, make("div", { className: "play-frame" }, canvas), caption) };
}
