// The explorer: a particle, a microscope and a classifier, which follow the controls.

import { Answer, calibration, unseen } from "./answer.js";
import { loadAsset, loadJson } from "./assets.js";
import { Body } from "./body.js";
import { loadClassifier } from "./classifier.js";
import { Newest, choice, group, make, slider, words } from "./controls.js";
import { ImageFormer } from "./imaging.js";
import { uniform } from "./noise.js";
import { paintImage } from "./pictures.js";
import { Panels } from "./panels.js";
import { unpackWave } from "./waves.js";

const SEED = 1;
const REST_MS = 60;
const FIRST_SHAPE = 2;
const TURN = { label: "turn in the plane", unit: "°", minimum: -180, maximum: 180, step: 1, default: 0 };

/** The explorer; `element` is what it shows. */
export class Explorer {
  /**
   * @param {object} data the asset `waves`.
   * @param {(size: number, lines: number) => object} makeLines from `startFft`.
   */
  constructor(data, makeLines) {
    Object.assign(this, { data, waves: new Map(), waiting: {}, touched: false, moves: 0 });
    this.former = new ImageFormer(makeLines, data.optics);
    this.panels = new Panels(data, makeLines);
    this.body = new Body(data, ({ direction, turn }) => this.#turn(direction, turn));
    this.particle = { shape: FIRST_SHAPE, size: data.waves[0].size_A, direction: 0, turn: 0 };
    this.settings = Object.fromEntries(data.knobs.map((knob) => [knob.name, knob.default]));
    this.loading = new Newest(() => this.#load());
    this.answering = new Newest((request) => this.#classify(request));
    this.#build();
  }

  #build() {
    const c = this.data.optics.camera_pixels;
    this.canvas = make("canvas", { width: c, height: c, className: "play-image", attributes: { role: "img" } });
    this.sentence = make("p", { className: "play-sentence", hidden: true, attributes: { role: "alert" } });
    this.answer = new Answer(this.data.shapes);
    this.status = make("p", { className: "play-status", attributes: { role: "status" } });
    this.about = make("p", { className: "play-about" });
    const ask = make("button", { type: "button", className: "play-button" }, "Ask the classifier");
    ask.addEventListener("click", () => this.#move());
    this.ask = ask;
    const right = make("div", { className: "play-views" },
      make("div", { className: "play-picture" }, this.canvas, this.sentence),
      make("div", { className: "play-answer" }, ask, this.answer.element, this.status));
    const left = make("div", { className: "play-controls" }, this.#particleControls(), this.#microscopeControls());
    this.element = make("div", { className: "play-explorer" }, right, left, this.panels.element, this.about);
  }

  #particleControls() {
    const { shapes, waves } = this.data;
    const sizes = [...new Set(waves.map((wave) => wave.size_A))];
    const change = (name) => (value) => {
      this.particle[name] = value;
      this.#changeParticle();
    };
    this.turnSlider = slider(TURN, change("turn"));
    return group(
      "Particle",
      choice("shape", shapes.map(({ label, name }) => [label, name]), this.particle.shape, change("shape")).element,
      choice("size", sizes.map((size) => [size, `${size} Å`]), this.particle.size, change("size")).element,
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
      knobs.forEach((knob, i) => {
        this.settings[knob.name] = knob.default;
        sliders[i].set(knob.default);
      });
      this.#move();
    });
    return group("Microscope", ...sliders.map(({ element }) => element), reset);
  }

  /** Show the first wave; rejects with one sentence if it cannot be had. */
  async start() {
    loadJson("network-card").then((card) => (this.about.textContent = calibration(card)), () => {});
    this.body.show(this.particle);
    await this.loading.ask();
  }

  #turn(direction, turn) {
    Object.assign(this.particle, { direction, turn });
    this.turnSlider.set(turn);
    this.#changeParticle();
  }

  #changeParticle() {
    this.touched = true;
    this.body.show(this.particle);
    this.loading.ask();
  }

  #move() {
    this.touched = true;
    this.#show();
  }

  /** Load the wave that the controls ask for, keep it, and show it. */
  async #load() {
    const { shape, size, direction, turn } = this.particle;
    const { name } = this.body.waves(shape, size)[direction];
    this.wave = undefined;
    try {
      if (!this.waves.has(name)) {
        this.canvas.classList.add("play-stale");
        const bytes = await loadAsset(name);
        this.waves.set(name, unpackWave(bytes, this.former.u, this.data.optics.field_A));
      }
    } catch (error) {
      this.#fail(error.message);
      return;
    }
    this.wave = this.waves.get(name);
    this.former.setWave(this.wave.real, this.wave.imaginary, turn);
    this.#show();
    this.#soon("wave", () => this.wave && this.panels.showWave(this.former));
  }

  /** Work that can wait until the knobs rest. */
  #soon(name, work) {
    clearTimeout(this.waiting[name]);
    this.waiting[name] = setTimeout(work, REST_MS);
  }

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
    this.#soon("spectrum", () => this.panels.showSpectrum(this.canvas.pixels));
    if (this.touched) this.answering.ask({ image, shape: this.particle.shape, formed });
  }

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
      this.canvas.dataset.shown = ++this.moves;
    } catch (error) {
      this.answer.clear();
      this.status.textContent = error.message;
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
