// @ts-check
// The stereographic triangle of beam directions: stored ones to choose from, and where the particle is seen from.

import { dot, unit } from "../optics/orientation.js";
import { ARROWS, draw } from "./controls.js";

const SIDE = 100;

/** @typedef {import("../optics/orientation.js").Symmetry} Symmetry */

/** A group of radio buttons drawn as dots; a click anywhere in the triangle chooses the nearest. */
export class DirectionTriangle {
  /**
   * @param {Symmetry} symmetry
   * @param {(index: number) => void} chosen told which stored direction the reader chooses.
   */
  constructor(symmetry, chosen) {
    this.symmetry = symmetry;
    this.chosen = chosen;
    /** @type {Vector[]} */
    this.directions = [];
    this.scale = 1;
    /** @type {number[][]} */
    this.places = [];
    /** @type {SVGCircleElement[]} */
    this.dots = [];
    this.view = draw("circle", { r: 5.5, class: "play-view", "aria-hidden": "true" });
    this.index = 0;
    this.element = draw("svg", { class: "play-triangle" });
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * Show the directions of a shape.
   * @param {Symmetry} symmetry
   * @param {string[]} names of its corners.
   * @param {Vector[]} directions stored unit vectors in its sector.
   * @param {string[]} labels of the directions, in words.
   */
  show(symmetry, names, directions, labels) {
    this.symmetry = symmetry;
    this.directions = directions;
    const corners = symmetry.corners.map((corner) => symmetry.project(corner));
    const [right, high] = [0, 1].map((axis) => Math.max(...corners.map((corner) => corner[axis])));
    this.scale = SIDE / right;
    this.places = directions.map((direction) => this.#place(direction));
    const margin = 16;
    const box = [-margin, -this.scale * high - margin - 4, SIDE + 2 * margin, this.scale * high + 2 * margin + 8];
    this.element.setAttribute("viewBox", box.map((value) => value.toFixed(2)).join(" "));
    const title = corners.map(([x, y], i) => {
      const [across, down] = [this.scale * x, -this.scale * y];
      return draw("text", { x: across, y: down + (i === 2 ? -7 : 14), "text-anchor": "middle" }, names[i]);
    });
    this.dots = this.places.map(([x, y], i) =>
      draw("circle", { cx: x, cy: y, r: 3.6, role: "radio", "aria-label": labels[i], class: "play-dot" }));
    const group = draw("g", { role: "radiogroup", "aria-label": "direction of the beam" }, ...this.dots);
    const outline = draw("path", { class: "play-sector", d: this.#outline() });
    this.element.replaceChildren(outline, ...title, this.view, group);
  }

  /**
   * Mark a stored direction as chosen, and the direction from which the particle is seen.
   * @param {number} index
   * @param {Vector} direction
   */
  mark(index, direction) {
    this.dots.forEach((dot, i) => {
      dot.setAttribute("aria-checked", String(i === index));
      dot.setAttribute("tabindex", i === index ? "0" : "-1");
    });
    this.index = index;
    const [x, y] = this.#place(this.symmetry.reduce(direction));
    this.view.setAttribute("cx", String(x));
    this.view.setAttribute("cy", String(y));
  }

  /**
   * Number of the stored direction nearest to a direction.
   * @param {Vector} direction
   */
  nearest(direction) {
    const reduced = this.symmetry.reduce(direction);
    return this.directions.reduce((best, each, i, all) => (dot(each, reduced) > dot(all[best], reduced) ? i : best), 0);
  }

  /** @param {Vector} direction */
  #place(direction) {
    const [x, y] = this.symmetry.project(direction);
    return [this.scale * x, -this.scale * y];
  }

  /** Sides of the triangle, which are arcs of circles, as many short lines. */
  #outline() {
    const { corners } = this.symmetry;
    const points = corners.flatMap((from, side) => Array.from({ length: 20 }, (_, i) => {
      const to = corners[(side + 1) % 3];
      const between = from.map((value, axis) => value + (i / 20) * (to[axis] - value));
      return this.#place(unit(between)).map((value) => value.toFixed(2)).join(" ");
    }));
    return `M${points.join("L")}Z`;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const matrix = /** @type {DOMMatrix} */ (this.element.getScreenCTM());
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    this.#choose(this.nearest(this.symmetry.lift([x / this.scale, -y / this.scale])));
  }

  /**
   * An arrow key chooses the nearest direction that lies that way.
   * @param {KeyboardEvent} event
   */
  #key(event) {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const [x, y] = this.places[this.index];
    let [best, least] = [-1, Infinity];
    this.places.forEach(([px, py], i) => {
      const [dx, dy] = [px - x, y - py];
      const along = dx * arrow[0] + dy * arrow[1];
      const aside = Math.abs(dx * arrow[1]) + Math.abs(dy * arrow[0]);
      if (along > 0.5 && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    });
    if (best >= 0) this.#choose(best);
  }

  /** @param {number} index */
  #choose(index) {
    this.chosen(index);
    this.dots[index].focus();
  }
}
