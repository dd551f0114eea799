// @ts-check
// The classifier's answer: five probabilities as a table with bars, and what is known of the classifier.

import { make, percent, words } from "./controls.js";

/** A table of the probabilities of the shapes. */
export class Probabilities {
  /** @param {NamedShape[]} shapes in the order of the probabilities. */
  constructor(shapes) {
    this.shapes = shapes;
    /** @type {HTMLTableElement & {outputs?: ArrayLike<number>}} */
    this.element = make("table", { className: "play-bars" });
  }

  /**
   * Show an answer; `outputs` (5) is kept beside the table.
   * @param {ArrayLike<number>} outputs probabilities.
   * @param {number} [truth] number of the true shape, if it is known: its name is bold.
   * @returns {string} the most likely shape, in words.
   */
  show(outputs, truth) {
    const all = Array.from(outputs);
    const best = all.indexOf(Math.max(...all));
    const rows = this.shapes.map(({ name, colour }, i) => {
      const bar = make("span", { className: "play-bar" });
      Object.assign(bar.style, { width: `${100 * all[i]}%`, background: colour });
      const title = make("th", { scope: "row" }, i === truth ? make("strong", {}, name) : name);
      return make("tr", {}, title, make("td", {}, bar), make("td", {}, percent(all[i])));
    });
    const caption = truth === undefined ? "Probabilities" : "Probabilities; the particle's own shape is bold";
    this.element.replaceChildren(make("caption", {}, caption), make("tbody", {}, ...rows));
    this.element.outputs = outputs;
    return `${this.shapes[best].name}, ${percent(all[best], 0)}`;
  }

  /** Forget the last answer. */
  clear() {
    this.element.replaceChildren();
    this.element.outputs = undefined;
  }
}

/**
 * What the card says, in two sentences.
 * @param {NetworkCard} card
 */
export function calibration({ architecture, temperature, accuracy, profile }) {
  return `The classifier is ${architecture} of the profile ${profile.name}, right for ${percent(accuracy, 2)} of its test`
    + ` images. Its outputs are divided by ${words(temperature, 2)} before they become probabilities, so that a`
    + " probability says how often it is right, for images like those it was tested on.";
}

/**
 * Labels of the knobs that stand where the classifier has seen no images.
 * @param {Knob[]} knobs
 * @param {Settings} settings
 * @param {Pick<NetworkCard, "seen">} card
 */
export function unseen(knobs, settings, { seen }) {
  return knobs
    .filter(({ name }) => {
      const [low, high] = seen[name];
      const slack = 1e-6 * Math.max(Math.abs(low), Math.abs(high));
      return settings[name] < low - slack || settings[name] > high + slack;
    })
    .map(({ label }) => label);
}
