// The reader's own image: dropped or chosen, cut to the classifier's field, and classified. Nothing leaves the page.

import { Answer } from "./answer.js";
import { loadCode } from "./assets.js";
import { loadClassifier } from "./classifier.js";
import { Newest, make, row, words } from "./controls.js";
import { paintImage } from "./pictures.js";

const FIELD = 128;
const OVERVIEW = 256;
const WARNING = "The classifier names one of the five shapes whatever the image shows. It cannot say “I don’t know”:"
  + " not of another shape, nor of an empty film, nor of a microscope unlike the one it knows. The analysis of files"
  + " with the library looks for that; this page does not.";

/**
 * A section for an image of the reader's own.
 * @param {object[]} shapes of the asset `waves`.
 * @returns {HTMLElement}
 */
export function ownImage(shapes) {
  return new OwnImage(shapes).element;
}

class OwnImage {
  constructor(shapes) {
    this.answer = new Answer(shapes);
    this.work = new Newest(() => this.#classify());
    this.input = make("input", { type: "file", accept: ".png,.tif,.tiff,image/png,image/tiff" });
    this.size = make("input", { type: "number", min: 0.05, max: 1.25, step: "any" });
    this.status = make("p", { className: "play-status", attributes: { role: "status" } });
    this.overview = make("canvas", { className: "play-overview", width: OVERVIEW, height: OVERVIEW });
    this.overview.setAttribute("role", "img");
    this.crop = make("canvas", { className: "play-image", width: FIELD, height: FIELD, attributes: { role: "img" } });
    this.across = this.#place("left to right");
    this.down = this.#place("top to bottom");
    this.sizeLabel = row("pixel size", this.size, make("span", {}, "Å"));
    this.sizeLabel.hidden = true;
    const whole = make("figure", {}, this.overview, make("figcaption", {}, "the image; click where the particle is"));
    const field = make("figure", {}, this.crop, make("figcaption", {}, "what the classifier sees, 128 Å wide"));
    this.views = make("div", { className: "play-own-views", hidden: true }, whole, field,
      make("div", {}, this.answer.element, make("p", { className: "play-warning" }, WARNING)));
    this.places = make("div", { hidden: true }, this.across.parentElement, this.down.parentElement);
    const choose = make("label", { className: "play-drop" },
      make("span", {}, "Drop a PNG or TIFF image here, or choose one:"), this.input);
    const legend = make("legend", {}, "An image of your own");
    this.element = make("fieldset", { className: "play-own" }, legend, choose, this.sizeLabel, this.places, this.status,
      this.views);
    this.#listen(choose);
  }

  #place(name) {
    const input = make("input", { type: "range", min: 0, max: 1, step: 0.005, value: 0.5 });
    row(name, input);
    input.addEventListener("input", () => this.work.ask());
    return input;
  }

  #listen(choose) {
    this.input.addEventListener("change", () => this.input.files[0] && this.#read(this.input.files[0]));
    this.size.addEventListener("input", () => this.work.ask());
    choose.addEventListener("dragover", (event) => {
      event.preventDefault();
      choose.classList.add("play-over");
    });
    choose.addEventListener("dragleave", () => choose.classList.remove("play-over"));
    choose.addEventListener("drop", (event) => {
      event.preventDefault();
      choose.classList.remove("play-over");
      const [file] = event.dataTransfer.files;
      if (file) this.#read(file);
    });
    this.overview.addEventListener("click", ({ offsetX, offsetY }) => {
      const { left, top, width, height } = this.shown;
      const scale = OVERVIEW / this.overview.clientWidth;
      this.across.value = (offsetX * scale - left) / width;
      this.down.value = (offsetY * scale - top) / height;
      this.work.ask();
    });
  }

  async #read(file) {
    this.image = undefined;
    this.views.hidden = this.sizeLabel.hidden = this.places.hidden = true;
    this.status.textContent = `Reading ${file.name} …`;
    try {
      this.files = await loadCode("files");
      const image = await this.files.readImage(file);
      Object.assign(this, { image, name: file.name });
      this.size.value = image.pixelSize_A === undefined ? "" : Number(image.pixelSize_A.toPrecision(6));
      this.across.value = this.down.value = 0.5;
      this.sizeLabel.hidden = false;
      await this.work.ask();
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  async #classify() {
    const { image, name } = this;
    if (!image) return;
    const notes = [];
    if (image.stack) notes.push(`${name} is a stack: this is its first image only.`);
    if (!this.size.value) {
      this.views.hidden = this.places.hidden = true;
      this.status.textContent = [`${name} does not tell its pixel size: write it above, in Å.`, ...notes].join(" ");
      this.size.focus();
      return;
    }
    try {
      const centre = { row: this.down.value * (image.height - 1), column: this.across.value * (image.width - 1) };
      const found = this.files.prepare(image, Number(this.size.value), centre);
      const classifier = await loadClassifier();
      const best = this.answer.show(await classifier.classify(found.image));
      this.#paint(image, found);
      this.status.textContent = [`${name}: most likely ${best}.`, ...notes].join(" ");
      const side = Math.min(image.width, image.height) * Number(this.size.value);
      [this.views.hidden, this.places.hidden] = [false, side < FIELD * 1.01];
    } catch (error) {
      this.views.hidden = true;
      this.status.textContent = error.message;
    }
  }

  #paint(image, { image: field, centre }) {
    // The field runs by rows from the top; pictures run [x, y] with y upwards.
    const turned = field.map((_, i) => field[FIELD * (FIELD - 1 - (i % FIELD)) + Math.floor(i / FIELD)]);
    paintImage(this.crop, turned);
    const pixel = Number(this.size.value);
    this.crop.setAttribute("aria-label", `${this.name}: the ${FIELD} Å that the classifier sees`);
    const scale = OVERVIEW / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    this.shown = { left: (OVERVIEW - width) / 2, top: (OVERVIEW - height) / 2, width, height };
    this.#paintOverview(image, scale);
    const context = this.overview.getContext("2d");
    const side = (FIELD / pixel) * scale;
    const [x, y] = [(centre.column + 0.5) * scale + this.shown.left, (centre.row + 0.5) * scale + this.shown.top];
    Object.assign(context, { strokeStyle: "#ffb000", lineWidth: 2 });
    context.strokeRect(x - side / 2, y - side / 2, side, side);
    const [wide, high] = [image.width * pixel, image.height * pixel].map((length) => words(length));
    this.overview.setAttribute("aria-label", `${this.name}, ${wide} Å by ${high} Å; a frame marks the field`);
  }

  /** The whole image, every pixel of the overview the mean of those that it covers. */
  #paintOverview({ pixels, width, height }, scale) {
    const [sums, counts] = [new Float64Array(OVERVIEW ** 2), new Uint32Array(OVERVIEW ** 2)];
    const { left, top } = this.shown;
    for (let y = 0; y < OVERVIEW; y++) {
      for (let x = 0; x < OVERVIEW; x++) {
        const [c0, r0] = [(x - left) / scale, (y - top) / scale].map(Math.floor);
        const [c1, r1] = [(x + 1 - left) / scale, (y + 1 - top) / scale].map(Math.ceil);
        if (c0 < 0 || r0 < 0 || c1 > width + 1 || r1 > height + 1) continue;
        for (let row = r0; row < Math.min(r1, height); row++) {
          for (let column = c0; column < Math.min(c1, width); column++) {
            sums[OVERVIEW * y + x] += pixels[width * row + column];
            counts[OVERVIEW * y + x]++;
          }
        }
      }
    }
    const values = sums.map((sum, i) => sum / counts[i]).filter(Number.isFinite);
    const mean = values.reduce((a, b) => a + b) / values.length;
    const spread = 3 * Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) || 1;
    const context = this.overview.getContext("2d");
    const picture = context.createImageData(OVERVIEW, OVERVIEW);
    sums.forEach((sum, i) => {
      const grey = 127.5 * (1 + (sum / counts[i] - mean) / spread);
      if (counts[i]) picture.data.set([grey, grey, grey, 255], 4 * i);
    });
    context.putImageData(picture, 0, 0);
  }
}
