// @ts-check
// The reader's own image: dropped or chosen, cut to the classifier's field, and classified. Nothing leaves the page.

import { loadCode } from "../io/assets.js";
import { loadClassifier } from "../io/classifier.js";
import { PIXELS, resampleField } from "../optics/resample-field.js";
import { make, reason, row, words } from "./controls.js";
import { context2d, fromRows, paintImage } from "./grey-image.js";
import { Newest } from "./newest.js";
import { Probabilities } from "./probabilities.js";

const OVERVIEW = 256;
const WARNING = "The classifier names one of the five shapes whatever the image shows. It cannot say “I don’t know”:"
  + " not of another shape, nor of an empty film, nor of a microscope unlike the one it knows. The analysis of files"
  + " with the library looks for that; this page does not.";

/** A section of the page for an image of the reader's own; `element` is what it shows. */
export class OwnImage {
  /** @param {NamedShape[]} shapes */
  constructor(shapes) {
    /** @type {(import("../io/image-files.js").OwnImage & {name: string}) | undefined} */
    this.image = undefined;
    this.shown = { left: 0, top: 0, width: OVERVIEW, height: OVERVIEW };
    this.answer = new Probabilities(shapes);
    this.work = new Newest(() => this.#classify());
    this.input = make("input", { type: "file", accept: ".png,.tif,.tiff,image/png,image/tiff" });
    this.size = make("input", { type: "number", min: 0.05, max: 1.25, step: "any" });
    this.status = make("p", { className: "play-status", attributes: { role: "status" } });
    this.overview = make("canvas", { className: "play-overview", width: OVERVIEW, height: OVERVIEW });
    this.overview.setAttribute("role", "img");
    this.crop = make("canvas", { className: "play-image", width: PIXELS, height: PIXELS, attributes: { role: "img" } });
    this.across = this.#place();
    this.down = this.#place();
    this.sizeLabel = row("pixel size", this.size, make("span", {}, "Å"));
    this.sizeLabel.hidden = true;
    const whole = make("figure", {}, this.overview, make("figcaption", {}, "the image; click where the particle is"));
    const field = make("figure", {}, this.crop, make("figcaption", {}, "what the classifier sees, 128 Å wide"));
    this.views = make("div", { className: "play-own-views", hidden: true }, whole, field,
      make("div", {}, this.answer.element, make("p", { className: "play-warning" }, WARNING)));
    this.places = make("div", { hidden: true }, row("left to right", this.across), row("top to bottom", this.down));
    const choose = make("label", { className: "play-drop" },
      make("span", {}, "Drop a PNG or TIFF image here, or choose one:"), this.input);
    const legend = make("legend", {}, "An image of your own");
    this.element = make("fieldset", { className: "play-own" }, legend, choose, this.sizeLabel, this.places, this.status,
      this.views);
    this.#listen(choose);
  }

  #place() {
    const input = make("input", { type: "range", min: 0, max: 1, step: 0.005, value: 0.5 });
    input.addEventListener("input", () => this.work.ask(undefined));
    return input;
  }

  /** @param {HTMLElement} choose where files are dropped. */
  #listen(choose) {
    this.input.addEventListener("change", () => this.#read(this.input.files?.[0]));
    this.size.addEventListener("input", () => this.work.ask(undefined));
    choose.addEventListener("dragover", (event) => {
      event.preventDefault();
      choose.classList.add("play-over");
    });
    choose.addEventListener("dragleave", () => choose.classList.remove("play-over"));
    choose.addEventListener("drop", (event) => {
      event.preventDefault();
      choose.classList.remove("play-over");
      this.#read(event.dataTransfer?.files[0]);
    });
    this.overview.addEventListener("click", ({ offsetX, offsetY }) => {
      const { left, top, width, height } = this.shown;
      const scale = OVERVIEW / this.overview.clientWidth;
      this.across.value = String((offsetX * scale - left) / width);
      this.down.value = String((offsetY * scale - top) / height);
      this.work.ask(undefined);
    });
  }

  /** @param {File | undefined} file */
  async #read(file) {
    if (!file) return;
    this.image = undefined;
    this.views.hidden = this.sizeLabel.hidden = this.places.hidden = true;
    this.status.textContent = `Reading ${file.name} …`;
    try {
      const readImage = await loadCode("image-files");
      this.image = { ...(await readImage(file)), name: file.name };
      const { pixelSize_A } = this.image;
      this.size.value = pixelSize_A === undefined ? "" : String(Number(pixelSize_A.toPrecision(6)));
      this.across.value = this.down.value = "0.5";
      this.sizeLabel.hidden = false;
      await this.work.ask(undefined);
    } catch (error) {
      this.status.textContent = reason(error);
    }
  }

  async #classify() {
    const { image } = this;
    if (!image) return;
    const { name } = image;
    const notes = [];
    if (image.stack) notes.push(`${name} is a stack: this is its first image only.`);
    if (!this.size.value) {
      this.views.hidden = this.places.hidden = true;
      this.status.textContent = [`${name} does not tell its pixel size: write it above, in Å.`, ...notes].join(" ");
      this.size.focus();
      return;
    }
    try {
      const [down, across] = [Number(this.down.value), Number(this.across.value)];
      const centre = { row: down * (image.height - 1), column: across * (image.width - 1) };
      const found = resampleField(image, Number(this.size.value), centre);
      const classifier = await loadClassifier();
      const best = this.answer.show(await classifier.classify(found.image));
      this.#paint(image, found);
      this.status.textContent = [`${name}: most likely ${best}.`, ...notes].join(" ");
      const side = Math.min(image.width, image.height) * Number(this.size.value);
      [this.views.hidden, this.places.hidden] = [false, side < PIXELS * 1.01];
    } catch (error) {
      this.views.hidden = true;
      this.status.textContent = reason(error);
    }
  }

  /**
   * @param {import("../io/image-files.js").OwnImage & {name: string}} image
   * @param {ReturnType<typeof resampleField>} found
   */
  #paint(image, { image: field, centre }) {
    paintImage(this.crop, fromRows(field, PIXELS));
    const pixel = Number(this.size.value);
    this.crop.setAttribute("aria-label", `${image.name}: the ${PIXELS} Å that the classifier sees`);
    const scale = OVERVIEW / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    this.shown = { left: (OVERVIEW - width) / 2, top: (OVERVIEW - height) / 2, width, height };
    this.#paintOverview(image, scale);
    const context = context2d(this.overview);
    const side = (PIXELS / pixel) * scale;
    const [x, y] = [(centre.column + 0.5) * scale + this.shown.left, (centre.row + 0.5) * scale + this.shown.top];
    Object.assign(context, { strokeStyle: "#ffb000", lineWidth: 2 });
    context.strokeRect(x - side / 2, y - side / 2, side, side);
    const [wide, high] = [image.width * pixel, image.height * pixel].map((length) => words(length));
    this.overview.setAttribute("aria-label", `${image.name}, ${wide} Å by ${high} Å; a frame marks the field`);
  }

  /**
   * The whole image, every pixel of the overview the mean of those that it covers.
   * @param {import("../optics/resample-field.js").Grid} image
   * @param {number} scale
   */
  #paintOverview({ pixels, width, height }, scale) {
    const means = new Float32Array(OVERVIEW ** 2).fill(NaN);
    const { left, top } = this.shown;
    for (let y = 0; y < OVERVIEW; y++) {
      for (let x = 0; x < OVERVIEW; x++) {
        const [c0, r0] = [(x - left) / scale, (y - top) / scale].map(Math.floor);
        const [c1, r1] = [(x + 1 - left) / scale, (y + 1 - top) / scale].map(Math.ceil);
        if (c0 < 0 || r0 < 0 || c1 > width + 1 || r1 > height + 1) continue;
        let [sum, count] = [0, 0];
        for (let row = r0; row < Math.min(r1, height); row++) {
          for (let column = c0; column < Math.min(c1, width); column++, count++) sum += pixels[width * row + column];
        }
        means[OVERVIEW * y + x] = sum / count;
      }
    }
    paintImage(this.overview, fromRows(means, OVERVIEW));
  }
}
