// @ts-check
// Live twins of figures S1, S2 and S4 from the shipped results.

import { loadAsset, loadJson } from "../io/assets.js";
import { PIXELS } from "../optics/resample-field.js";
import { mean } from "../optics/statistics.js";
import { draw, make, percent, reason, words } from "./controls.js";
import { paint } from "./grey-image.js";
import { Probabilities } from "./probabilities.js";

/** @typedef {(root: HTMLElement, say: (text: string) => void) => Promise<void>} Twin fills an element. */

const STYLES = [["#E69F00", "4 3"], ["#56B4E9", "8 3"], ["#0072B2", ""], ["#D55E00", ""]];
/** @type {Record<string, Twin>} */
const TWINS = { s1: showCurves, s2: showMatrices, s4: showFailures };

/** @type {(number: number) => string} */
const thousands = (number) => number.toLocaleString("en");

/**
 * S1: every mean of trainings is a point to choose.
 * @type {Twin}
 */
async function showCurves(root, say) {
  const { architectures, trainings } = await loadJson("twin-s1");
  const sizes = [...new Set(trainings.map((each) => each.train_images))].sort((a, b) => a - b);
  const lowest = Math.min(...trainings.map((each) => each.test_accuracy));
  const [left, right, top, bottom] = [48, 470, 12, 250];
  /** @type {(size: number) => number} */
  const x = (size) => left + ((right - left) * Math.log(size / sizes[0])) / Math.log(sizes[sizes.length - 1] / sizes[0]);
  /** @type {(share: number) => number} */
  const y = (share) => bottom - ((bottom - top) * (share - lowest + 0.03)) / (1.03 - lowest);
  /** @type {SVGElement[]} */
  const marks = [];
  for (const share of [0.5, 0.6, 0.7, 0.8, 0.9, 1].filter((share) => share > lowest - 0.03)) {
    marks.push(draw("line", { x1: left, x2: right, y1: y(share), y2: y(share), class: "play-axis" }));
    marks.push(draw("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share, 0)));
  }
  for (const size of sizes) {
    marks.push(draw("text", { x: x(size), y: bottom + 18, "text-anchor": "middle" }, thousands(size)));
  }
  /** @type {{name: string, x: number, y: number}[]} */
  const ends = [];
  const points = architectures.flatMap((name, i) => {
    const [colour, dashes] = STYLES[i % STYLES.length];
    const groups = sizes
      .map((size) => trainings.filter((each) => each.architecture === name && each.train_images === size))
      .filter((group) => group.length);
    const places = groups.map((group) => [x(group[0].train_images), y(mean(group.map((each) => each.test_accuracy)))]);
    const line = { points: places.join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes };
    marks.push(draw("polyline", line));
    const [right, low] = places[places.length - 1];
    ends.push({ name, x: right + 11, y: low + 4 });
    return groups.map((group, k) => {
      const each = group.map((one) => `${percent(one.test_accuracy)} (${percent(one.test_low)} to ${percent(one.test_high)})`);
      const text = `${name}, ${thousands(group[0].train_images)} images: ${percent(mean(group.map((one) => one.test_accuracy)))},`
        + ` the mean of ${group.length} ${group.length === 1 ? "training" : "trainings"}: ${each.join("; ")}`;
      const [cx, cy] = places[k];
      return draw("circle", { cx, cy, r: 7, fill: colour, tabindex: 0, role: "img", "aria-label": text, class: "twin-point" });
    });
  });
  // Names of lines that end at one place stand below one another.
  ends.sort((a, b) => a.y - b.y).forEach((end, i) => {
    const above = ends.slice(0, i).filter((other) => Math.abs(other.x - end.x) < 60).map((other) => other.y + 14);
    end.y = Math.max(end.y, ...above);
    marks.push(draw("text", { x: end.x, y: end.y }, end.name));
  });
  for (const point of points) {
    for (const event of ["focus", "pointerenter", "click"]) {
      point.addEventListener(event, () => say(`${point.getAttribute("aria-label")}. Intervals of 95 %.`));
    }
  }
  const label = { viewBox: "0 0 560 280", role: "group", "aria-label": "accuracy against training images", class: "twin-curves" };
  root.append(draw("svg", label, ...marks, ...points));
  say("Point at a mark, or reach it with the Tab key.");
}

/**
 * S2: one matrix for each way to spend the images; a field tells its trainings and shows failures of that kind.
 * @type {Twin}
 */
async function showMatrices(root, say) {
  const { shapes, images, matrices } = await loadJson("twin-s2");
  const kinds = [...new Set(matrices.map((matrix) => matrix.waves))];
  const select = make("select", {}, ...kinds.map((waves) =>
    make("option", { value: waves }, `${thousands(waves)} exit waves, ${images / waves} defoci each`)));
  const table = make("table", { className: "twin-matrix" });
  const examples = make("div", { className: "twin-images" });
  const show = () => {
    const trained = matrices.filter((matrix) => matrix.waves === Number(select.value));
    const head = shapes.map(({ name }) => make("th", { scope: "col" }, name));
    const rows = shapes.map(({ name }, i) => make("tr", {}, make("th", { scope: "row" }, name), ...shapes.map((other, j) => {
      const shares = trained.map((matrix) => matrix.shares[i][j]);
      const button = make("button", { type: "button" }, words(100 * mean(shares), 1));
      button.setAttribute("aria-label", `${name} taken for ${other.name}: ${percent(mean(shares))}`);
      button.style.setProperty("--share", `${Math.round(100 * mean(shares))}%`);
      button.addEventListener("click", async () => {
        say(`Of the images of ${name}, ${percent(mean(shares))} are taken for ${other.name}; by training:`
          + ` ${shares.map((share) => percent(share)).join(", ")}.`);
        examples.replaceChildren(...(i === j ? [] : await thumbnails((row) => row.label === i && row.predicted === j)));
      });
      return make("td", {}, button);
    })));
    const caption = make("caption", {}, "Percent of the images; rows are true shapes, columns predicted ones");
    table.replaceChildren(caption, make("thead", {}, make("tr", {}, make("td"), ...head)), make("tbody", {}, ...rows));
  };
  select.addEventListener("change", show);
  show();
  const region = make("div", { className: "twin-wide", tabIndex: 0, attributes: { role: "region", "aria-label": "matrix" } }, table);
  root.append(make("label", {}, make("span", {}, "images spent on"), select), region, examples);
  say("Choose a field. Mistakes show the shipped failures of the best network with the same two shapes, if there are any.");
}

/**
 * Small canvases of the shipped failures that a test picks, six at most.
 * @param {(row: Failure) => boolean} test
 */
async function thumbnails(test) {
  const { rows, images } = await failures();
  return rows.flatMap((row, i) => (test(row) ? [picture(images[i])] : [])).slice(0, 6);
}

/**
 * S4: every failure is a button.
 * @type {Twin}
 */
async function showFailures(root, say) {
  const { shapes, rows, images } = await failures();
  const answer = new Probabilities(shapes);
  const large = make("canvas", { width: PIXELS, height: PIXELS, className: "play-image", attributes: { role: "img" } });
  /** @type {(i: number) => void} */
  const choose = (i) => {
    const row = rows[i];
    paint(large, images[i], 0, 255);
    /** @type {(label: number) => string} */
    const name = (label) => shapes[label].name;
    const text = `A ${name(row.label)} of ${words(row.size_A)} Å at a defocus of ${words(row.defocus_A)} Å`;
    large.setAttribute("aria-label", text);
    answer.show(shapes.map((_, k) => row[`p${k}`]), row.label);
    const series = rows.filter((other) => other.group === row.group);
    say(`${text}, taken for a ${name(row.predicted)}; second choice ${name(row.second)}.`
      + (series.length > 1 ? ` Of its focal series ${series.length} failures are shown here, at`
        + ` ${series.map((other) => words(other.defocus_A)).join(", ")} Å.` : ""));
  };
  const buttons = rows.map((row, i) => {
    const button = make("button", { type: "button", className: "twin-button" }, picture(images[i]));
    button.setAttribute("aria-label", `failure ${i + 1}: a ${shapes[row.label].name} taken for a ${shapes[row.predicted].name}`);
    button.addEventListener("click", () => choose(i));
    return button;
  });
  const one = make("div", { className: "twin-one" }, large, answer.element);
  root.append(make("div", { className: "twin-images" }, ...buttons), one);
  choose(0);
}

async function failures() {
  const [{ shapes, rows }, bytes] = await Promise.all([loadJson("twin-s4"), loadAsset("twin-s4-images")]);
  const size = PIXELS * PIXELS;
  return { shapes, rows, images: rows.map((_, i) => bytes.subarray(i * size, (i + 1) * size)) };
}

/** @param {Uint8Array} image */
function picture(image) {
  const canvas = make("canvas", { width: PIXELS, height: PIXELS, attributes: { "aria-hidden": "true" } });
  paint(canvas, image, 0, 255);
  return canvas;
}

/**
 * Fill a section of the page; on failure one sentence takes its place.
 * @param {HTMLElement} root
 */
export async function showTwin(root) {
  const status = make("p", { className: "play-status", attributes: { role: "status" } }, "Loading …");
  const body = make("div");
  const title = make("p", { className: "twin-title" }, root.getAttribute("aria-label") ?? "");
  root.replaceChildren(title, body, status);
  try {
    await TWINS[root.dataset.twin ?? ""](body, (text) => (status.textContent = text));
  } catch (error) {
    status.textContent = `${reason(error)} The figure above does not need it.`;
  }
}
