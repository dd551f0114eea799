// @ts-check
// The explorer: a particle, a microscope and a classifier, which follow the controls.

import { loadAsset, loadJson } from "../io/assets.js";
import { loadClassifier } from "../io/classifier.js";
import { uniform } from "../optics/camera.js";
import { unpackWave } from "../optics/exit-wave.js";
import { ImageFormer } from "../optics/image-former.js";
import { choice, group, make, reason, slider, words } from "./controls.js";
import { paintImage } from "./grey-image.js";
import { Newest } from "./newest.js";
import { OrientedParticle } from "./oriented-particle.js";
import { Probabilities, calibration, unseen } from "./probabilities.js";
import { WavePanels } from "./wave-panels.js";

const SEED = 1;
const REST_MS = 60;
const FIRST_SHAPE = 2;
const TURN = { label: "turn in the plane", unit: "°", minimum: -180, maximum: 180, step: 1, default: 0 };

/** The explorer; `element` is what it shows. */
export class Explorer {
  /**
   * @param {Catalogue} data
   * @param {import("../optics/fourier.js").MakeLines} makeLines
   */
  constructor(data, makeLines) {
    this.data = data;
    this.waves = /** @type {Map<string, ReturnType<typeof unpackWave>>} */ (new Map());
    this.wave = /** @type {ReturnType<typeof unpackWave> | undefined} */ (undefined);
    this.classifier = /** @type {import("../io/classifier.js").Classifier | undefined} */ (undefined);
    this.waiting = /** @type {Record<string, ReturnType<typeof setTimeout>>} */ ({});
    this.touched = false;
    this.moves = 0;
    this.former = new ImageFormer(makeLines, data.optics);
    this.panels = new WavePanels(data, makeLines);
    this.body = new OrientedParticle(data, ({ direction, turn }) => this.#turn(direction, turn));
    this.particle = { shape: FIRST_SHAPE, size: data.waves[0].size_A, direction: 0, turn: 0 };
    this.settings = this.#firstSettings();
    this.loading = new Newest(() => this.#load());
    this.answering = /** @type {Newest<{image: Float32Array, shape: number, formed: number}>} */ (
      new Newest((request) => this.#classify(request)));

    const c = data.optics.camera_pixels;
    this.canvas = /** @type {HTMLCanvasElement & {pixels?: Float32Array}} */ (
      make("canvas", { width: c, height: c, className: "play-image", attributes: { role: "img" } }));
    this.sentence = make("p", { className: "play-sentence", hidden: true, attributes: { role: "alert" } });
    this.answer = new Probabilities(data.shapes);
    this.status = make("p", { className: "play-status", attributes: { role: "status" } });
    this.about = make("p", { className: "play-about" });
    this.ask = make("button", { type: "button", className: "play-button" }, "Ask the classifier");
    this.ask.addEventListener("click", () => this.#move());
    this.turnSlider = slider(TURN, (turn) => this.#change({ turn }));
    const right = make("div", { className: "play-views" },
      make("div", { className: "play-picture" }, this.canvas, this.sentence),
      make("div", { className: "play-answer" }, this.ask, this.answer.element, this.status));
    const left = make("div", { className: "play-controls" }, this.#particleControls(), this.#microscopeControls());
    this.element = make("div", { className: "play-explorer" }, right, left, this.panels.element, this.about);
  }

  /** @returns {Settings} */
  #firstSettings() {
    const first = Object.fromEntries(this.data.knobs.map((knob) => [knob.name, knob.default]));
    return /** @type {any} */ (first);
  }

  #particleControls() {
    const { shapes, waves } = this.data;
    const sizes = [...new Set(waves.map((wave) => wave.size_A))];
    const names = shapes.map(({ label, name }) => /** @type {[number, string]} */ ([label, name]));
    const lengths = sizes.map((size) => /** @type {[number, string]} */ ([size, `${size} Å`]));
    return group(
      "Particle",
      choice("shape", names, this.particle.shape, (shape) => this.#change({ shape })),
      choice("size", lengths, this.particle.size, (size) => this.#change({ size })),
      this.body.element,
      this.turnSlider.element,
    );
  }

  #microscopeControls() {
    const { knobs } = this.data;
    const sliders = knobs.map((knob) => slider(knob, (value) => {
      this.settings[knob.name] = value;
      this.#move();
    }));
    const reset = make("button", { type: "button", className: "play-button" }, "Back to the first settings");
    reset.addEventListener("click", () => {
      this.settings = this.#firstSettings();
      knobs.forEach((knob, i) => sliders[i].set(knob.default));
      this.#move();
    });
    return group("Microscope", ...sliders.map(({ element }) => element), reset);
  }

  /** Show the first wave; rejects with one sentence if it cannot be had. */
  async start() {
    loadJson("network-card").then((card) => (this.about.textContent = calibration(card)), () => {});
    this.body.show(this.particle);
    await this.loading.ask(undefined);
  }

  /**
   * The reader turns the particle itself.
   * @param {number} direction
   * @param {number} turn
   */
  #turn(direction, turn) {
    this.turnSlider.set(turn);
    this.#change({ direction, turn });
  }

  /** @param {Partial<import("./oriented-particle.js").Place>} place what changes of the particle. */
  #change(place) {
    Object.assign(this.particle, place);
    this.touched = true;
    this.body.show(this.particle);
    this.loading.ask(undefined);
  }

  #move() {
    this.touched = true;
    this.#show();
  }

  /** Load the wave that the controls ask for, keep it, and show it. */
  async #load() {
    const { shape, size, direction, turn } = this.particle;
    const { name } = this.body.waves(shape, size)[direction];
    let wave = this.waves.get(name);
    this.wave = undefined;
    try {
      if (!wave) {
        this.canvas.classList.add("play-stale");
        wave = unpackWave(await loadAsset(name), this.former.u, this.data.optics.field_A);
        this.waves.set(name, wave);
      }
    } catch (error) {
      this.#fail(reason(error));
      return;
    }
    this.wave = wave;
    this.former.setWave(wave.real, wave.imaginary, turn);
    this.#show();
    this.#soon("wave", () => this.wave && this.panels.showWave(this.former));
  }

  /**
   * Work that can wait until the knobs rest.
   * @param {string} name
   * @param {() => void} work
   */
  #soon(name, work) {
    clearTimeout(this.waiting[name]);
    this.waiting[name] = setTimeout(work, REST_MS);
  }

  /** @param {string} sentence in place of the image. */
  #fail(sentence) {
    this.sentence.textContent = sentence;
    this.sentence.hidden = false;
    this.canvas.hidden = true;
    this.answer.clear();
    this.status.textContent = "";
  }

  /** Form the image and, once a control has been moved, ask the classifier. */
  #show() {
    if (!this.wave) return;
    const start = performance.now();
    const settings = this.#optics();
    this.former.form(settings);
    const image = this.former.noisy(this.settings.dose_e_A2, settings.mtf, uniform(SEED));
    paintImage(this.canvas, image);
    this.canvas.setAttribute("aria-label", this.#words());
    this.canvas.classList.remove("play-stale");
    [this.canvas.hidden, this.sentence.hidden] = [false, true];
    this.canvas.pixels = image;
    const formed = performance.now() - start;
    this.panels.curve.update(settings);
    this.#soon("spectrum", () => this.panels.showSpectrum(image));
    if (this.touched) this.answering.ask({ image, shape: this.particle.shape, formed });
  }

  /** @param {{image: Float32Array, shape: number, formed: number}} request */
  async #classify({ image, shape, formed }) {
    try {
      if (!this.classifier) this.status.textContent = "Loading the classifier …";
      this.classifier ??= await loadClassifier();
      const start = performance.now();
      const outputs = await this.classifier.classify(image);
      // Another wave is being loaded, or could not be.
      if (!this.wave) return;
      const best = this.answer.show(outputs, shape);
      const asked = performance.now() - start;
      const outside = unseen(this.data.knobs, this.settings, this.classifier.card);
      const warning = outside.length ? ` The classifier has never seen this ${outside.join(", ")}.` : "";
      const times = `Image in ${words(formed)} ms, answer in ${words(asked)} ms.`;
      this.status.textContent = `Most likely ${best}.${warning} ${times}`;
      this.ask.hidden = true;
      this.canvas.dataset.shown = String(++this.moves);
    } catch (error) {
      this.answer.clear();
      this.status.textContent = reason(error);
    }
  }

  /** The knobs as `ImageFormer.form` takes them. */
  #optics() {
    const { Cs_um, mtf_half_width, defocus_A, focal_spread_A, convergence_mrad } = this.settings;
    const mtf = { ...this.data.mtf, c2: mtf_half_width };
    return { defocus_A, focal_spread_A, convergence_mrad, Cs_A: 1e4 * Cs_um, mtf };
  }

  #words() {
    const { name } = this.data.shapes[this.particle.shape];
    const { defocus_A, dose_e_A2 } = this.settings;
    return `Simulated image of the ${name}, beam ${this.body.words(this.body.wave)}, defocus ${words(defocus_A)} Å,`
      + ` dose ${words(dose_e_A2)} e/Å²; ${this.data.optics.field_A} Å wide`;
  }
}
