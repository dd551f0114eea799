// Elements of the page, and its controls: each has a label, works with the keyboard and tells its value in words.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties; `attributes` are set as they are, `children` appended. */
export function make(tag, { attributes = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An SVG element with attributes. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number in words, with a proper minus. */
export function words(value, digits = 0) {
  return Number(value.toFixed(digits) || 0).toFixed(digits).replace("-", "−");
}

/** Controls under one title. */
export function group(title, ...rows) {
  return make("fieldset", {}, make("legend", {}, title), ...rows);
}

let rows = 0;

/** A control with its label before it and, behind it, what it says. */
export function row(label, control, ...behind) {
  control.id = `play-control-${++rows}`;
  return make("div", { className: "play-row" }, make("label", { htmlFor: control.id }, label), control, ...behind);
}

/** A choice among named options; `changed` is told the number of the chosen one. */
export function choice(label, options, value, changed) {
  const select = make("select", {}, ...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
  select.addEventListener("change", () => changed(Number(select.value)));
  return { element: row(label, select), set: (key) => (select.value = key) };
}

/**
 * A slider.
 * @param {object} knob `label`, `unit`, `minimum`, `maximum`, `step`, `default` and, if equal steps are to be equal
 *   factors, `logarithmic`; `note` says more. These are the knobs of the library.
 * @param {(value: number) => void} changed told each new value that the reader sets.
 * @returns {{element: HTMLElement, set: (value: number) => void}} `set` does not call `changed`.
 */
export function slider({ label, unit, minimum, maximum, step, default: value, logarithmic, note }, changed) {
  const [to, back] = logarithmic ? [Math.log10, (power) => 10 ** power] : [Number, Number];
  const input = make("input", { type: "range", min: to(minimum), max: to(maximum), step, value: to(value) });
  const output = make("output");
  const digits = step < 1 && !logarithmic ? 2 : 0;
  // A step of 0.05 is not a binary number: 0.30000000000000004 names no table.
  const read = () => Number(back(Number(input.value)).toPrecision(6));
  const tell = () => {
    output.textContent = `${words(read(), digits)} ${unit}`;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    changed(read());
  });
  const set = (number) => {
    input.value = to(number);
    tell();
  };
  tell();
  const element = row(label, input, output);
  output.htmlFor = input.id;
  element.title = note ?? "";
  return { element, set };
}

/** Does work with the newest request only: one at a time, and of those that come meanwhile the last. */
export class Newest {
  /** @param {(request: any) => Promise<void>} work must not reject. */
  constructor(work) {
    this.work = work;
  }

  /** Ask for work; resolves when nothing is left to do. */
  ask(request) {
    this.next = { request };
    this.running ??= this.#run().finally(() => (this.running = undefined));
    return this.running;
  }

  async #run() {
    while (this.next) {
      const { request } = this.next;
      this.next = undefined;
      await this.work(request);
    }
  }
}
