// The page without a kernel: controls, the image and the classifier's answer.

import { loadAsset, loadJson } from "./assets.js";
import { loadClassifier } from "./classifier.js";
import { startFft } from "./fft.js";
import { ImageFormer } from "./imaging.js";
import { uniform } from "./noise.js";
import { unpackWave } from "./waves.js";

const SEED = 1;

/** Build the explorer inside an element; on failure one sentence takes the picture's place. */
async function start(root) {
  const status = make("p", { role: "status", className: "play-status" }, "Loading the first wave …");
  root.replaceChildren(status);
  try {
    const [data, wasm] = await Promise.all([loadJson("waves"), loadAsset("fft-wasm")]);
    const former = new ImageFormer(await startFft(wasm), data.optics);
    await new Explorer(root, status, data, former).changeWave();
  } catch (error) {
    status.textContent = `${error.message} The figures of the other pages do not need it.`;
  }
}

class Explorer {
  constructor(root, status, data, former) {
    Object.assign(this, { status, data, former, waves: new Map(), classifier: undefined, asked: 0 });
    this.particle = { shape: 2, size: data.waves[0].size_A, direction: 0, turn: 0 };
    this.settings = Object.fromEntries(data.knobs.map((knob) => [knob.field, knob.value]));
    const c = data.optics.camera_pixels;
    this.canvas = make("canvas", { width: c, height: c, className: "play-image", role: "img" });
    this.bars = make("table", { className: "play-bars" });
    const left = make("div", { className: "play-controls" }, this.#particleControls(), this.#microscopeControls());
    const right = make("div", { className: "play-views" }, this.canvas, this.bars, status);
    root.replaceChildren(left, right);
  }

  #particleControls() {
    const { shapes, waves } = this.data;
    const sizes = [...new Set(waves.map((wave) => wave.size_A))];
    const directions = waves.filter((wave) => wave.shape === 0 && wave.size_A === sizes[0]).length;
    const changed = (name) => (value) => {
      this.particle[name] = value;
      this.changeWave();
    };
    return group(
      "Particle",
      choice("shape", shapes.map((shape) => [shape.label, shape.name]), this.particle.shape, changed("shape")),
      choice("size", sizes.map((size) => [size, `${size} Å`]), this.particle.size, changed("size")),
      slider({ name: "direction", unit: "of the beam", minimum: 0, maximum: directions - 1, step: 1, value: 0 },
        changed("direction"), (value) => this.#directionText(value)),
      slider({ name: "turn in the plane", unit: "°", minimum: -180, maximum: 180, step: 1, value: 0 }, changed("turn")),
    );
  }

  #microscopeControls() {
    const rows = this.data.knobs.map((knob) =>
      slider(knob, (value) => {
        this.settings[knob.field] = value;
        this.show();
      }),
    );
    return group("Microscope", ...rows);
  }

  #wave() {
    const { shape, size, direction } = this.particle;
    return this.data.waves.filter((wave) => wave.shape === shape && wave.size_A === size)[direction];
  }

  #directionText(direction) {
    const { shape, size } = this.particle;
    const wave = this.data.waves.filter((each) => each.shape === shape && each.size_A === size)[direction];
    const [corner, angle] = Object.entries(wave.angles_deg).sort((a, b) => a[1] - b[1])[0];
    return angle < 0.5 ? `along ${corner}` : `${angle.toFixed(0)}° from ${corner}`;
  }

  /** Load the wave that the controls ask for, keep it, and show it; the newest request wins. */
  async changeWave() {
    const asked = ++this.asked;
    const { name } = this.#wave();
    this.canvas.classList.add("play-stale");
    try {
      if (!this.waves.has(name)) {
        const bytes = await loadAsset(name);
        this.waves.set(name, unpackWave(bytes, this.former.u, this.data.optics.field_A));
      }
      if (asked !== this.asked) return;
      const { real, imaginary } = this.waves.get(name);
      this.former.setWave(real, imaginary, this.particle.turn);
      this.canvas.classList.remove("play-stale");
      await this.show(asked > 1);
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  /** Form the image and, once a control has been moved, ask the classifier. */
  async show(touched = true) {
    const start = performance.now();
    const { Cs_um, dose_e_A2, mtf_c2, ...rest } = this.settings;
    const mtf = { ...this.data.mtf, c2: mtf_c2 };
    this.former.form({ ...rest, Cs_A: 1e4 * Cs_um, mtf });
    const image = this.former.noisy(dose_e_A2, mtf, uniform(SEED));
    paint(this.canvas, image);
    this.canvas.setAttribute("aria-label", this.#words());
    const formed = performance.now() - start;
    Object.assign(this.canvas, { pixels: image, formed });
    if (!touched) {
      this.status.textContent = "Turn a knob: the classifier is loaded then.";
      return;
    }
    const shown = (this.shown = (this.shown ?? 0) + 1);
    try {
      this.classifier ??= await loadClassifier();
      if (shown !== this.shown) return;
      const before = performance.now();
      const outputs = await this.classifier.classify(image);
      if (shown !== this.shown) return;
      this.#answer(outputs);
      const asked = performance.now() - before;
      this.status.textContent = `Image in ${formed.toFixed(0)} ms, answer in ${asked.toFixed(0)} ms, computed in this page.`;
      this.canvas.dataset.shown = shown;
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  #words() {
    const shape = this.data.shapes[this.particle.shape].name;
    return `Simulated image of ${shape}, ${this.#directionText(this.particle.direction)}, defocus ${this.settings.defocus_A} Å`;
  }

  #answer(outputs) {
    const highest = Math.max(...outputs);
    const rows = this.data.shapes.map((shape, i) => {
      const percent = `${(100 * outputs[i]).toFixed(1)} %`;
      const name = make("th", { scope: "row" }, shape.name);
      const bar = make("span", { className: "play-bar" });
      bar.style.width = percent.replace(" ", "");
      const row = make("tr", {}, name, make("td", {}, bar), make("td", {}, percent));
      if (outputs[i] === highest) row.className = "play-best";
      return row;
    });
    this.bars.replaceChildren(make("caption", {}, "The classifier's probabilities"), ...rows);
    this.bars.outputs = outputs;
  }
}

/** Grey levels from two deviations below the mean to two above; x to the right, y upwards. */
function paint(canvas, image) {
  const c = canvas.width;
  const mean = image.reduce((a, b) => a + b) / image.length;
  const deviation = Math.sqrt(image.reduce((sum, value) => sum + (value - mean) ** 2, 0) / image.length) || 1;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(c, c);
  for (let x = 0; x < c; x++) {
    for (let y = 0; y < c; y++) {
      const grey = 127.5 + (63.75 * (image[c * x + y] - mean)) / deviation;
      picture.data.set([grey, grey, grey, 255], 4 * (c * (c - 1 - y) + x));
    }
  }
  context.putImageData(picture, 0, 0);
}

function make(tag, properties, ...children) {
  const { role, scope, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (role) element.setAttribute("role", role);
  if (scope) element.setAttribute("scope", scope);
  element.append(...children);
  return element;
}

function group(title, ...rows) {
  return make("fieldset", {}, make("legend", {}, title), ...rows);
}

function choice(name, options, value, changed) {
  const select = make("select", {}, ...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
  select.addEventListener("change", () => changed(Number(select.value)));
  return make("label", {}, make("span", {}, name), select);
}

function slider({ name, unit, minimum, maximum, step, value, logarithmic }, changed, text) {
  const [to, back] = logarithmic ? [Math.log10, (power) => 10 ** power] : [Number, Number];
  const input = make("input", { type: "range", min: to(minimum), max: to(maximum), step, value: to(value) });
  const digits = step < 1 && !logarithmic ? 2 : 0;
  const words = text ?? ((number) => `${number.toFixed(digits)} ${unit}`);
  const output = make("output", {});
  // The step of 0.05 is not a binary number: 0.30000000000000004 names no table.
  const read = () => Number(back(Number(input.value)).toPrecision(6));
  const tell = () => {
    output.textContent = words(read());
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    changed(read());
  });
  queueMicrotask(tell);
  return make("label", {}, make("span", {}, name), input, output);
}

const root = document.getElementById("nanoshape-play");
if (root) start(root);
