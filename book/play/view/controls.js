// @ts-check
// Elements of the page, and its controls: each has a label, works with the keyboard and tells its value in words.

const SVG = "http://www.w3.org/2000/svg";
/** Keys that walk, as steps to the right and upwards. */
export const ARROWS = /** @type {Record<string, [number, number]>} */ ({
  ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
});

/**
 * An element with properties; `attributes` are set as they are, `children` appended.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [properties]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, { attributes = {}, ...properties } = {}, ...children) {
  return fill(Object.assign(document.createElement(tag), properties), attributes, children);
}

/**
 * An SVG element with attributes.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} attributes
 * @param {(Node | string)[]} children
 */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {Element} Kind
 * @param {Kind} element
 * @param {Record<string, any>} attributes
 * @param {(Node | string)[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * A number in words, with a proper minus.
 * @param {number} value
 */
export function words(value, digits = 0) {
  return Number(value.toFixed(digits) || 0).toFixed(digits).replace("-", "−");
}

/**
 * A share in words.
 * @param {number} share
 */
export function percent(share, digits = 1) {
  return `${words(100 * share, digits)} %`;
}

/**
 * The sentence of an error.
 * @param {unknown} error
 */
export function reason(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Controls under one title.
 * @param {string} title
 * @param {HTMLElement[]} rows
 */
export function group(title, ...rows) {
  return make("fieldset", {}, make("legend", {}, title), ...rows);
}

let rows = 0;

/**
 * A control with its label before it and, behind it, what it says.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {HTMLElement[]} behind
 */
export function row(label, control, ...behind) {
  control.id = `play-control-${++rows}`;
  return make("div", { className: "play-row" }, make("label", { htmlFor: control.id }, label), control, ...behind);
}

/**
 * A choice among numbers, each with its name.
 * @param {string} label
 * @param {[number, string][]} options
 * @param {number} value
 * @param {(value: number) => void} changed told which one the reader chooses.
 */
export function choice(label, options, value, changed) {
  const select = make("select", {}, ...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = String(value);
  select.addEventListener("change", () => changed(Number(select.value)));
  return row(label, select);
}

/**
 * A slider.
 * @param {Omit<Knob, "name">} knob
 * @param {(value: number) => void} changed told each new value that the reader sets.
 * @returns {{element: HTMLElement, set: (value: number) => void}} `set` does not call `changed`.
 */
export function slider({ label, unit, minimum, maximum, step, default: value, logarithmic, note }, changed) {
  const to = logarithmic ? Math.log10 : Number;
  // A step of 0.05 is not a binary number: 0.30000000000000004 names no table.
  const read = () => Number((logarithmic ? 10 ** Number(input.value) : Number(input.value)).toPrecision(6));
  const input = make("input", { type: "range", min: to(minimum), max: to(maximum), step, value: to(value) });
  const output = make("output");
  const digits = step < 1 && !logarithmic ? 2 : 0;
  const tell = () => {
    output.textContent = `${words(read(), digits)} ${unit}`;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    changed(read());
  });
  /** @type {(number: number) => void} */
  const set = (number) => {
    input.value = String(to(number));
    tell();
  };
  tell();
  const element = row(label, input, output);
  output.htmlFor.value = input.id;
  element.title = note ?? "";
  return { element, set };
}
