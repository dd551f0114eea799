// @ts-check
// The particle and the direction of the beam: a view in three dimensions and the triangle, which follow each other.

import { loadCode, loadJson } from "../io/assets.js";
import { Symmetry, angleBetween, beamDirection, rotation, times } from "../optics/orientation.js";
import { make, reason, words } from "./controls.js";
import { DirectionTriangle } from "./direction-triangle.js";
import { drawStill } from "./particle-still.js";

/** @typedef {{shape: number, size: number, direction: number, turn: number}} Place of the controls. */

/** The particle of the explorer, and how it is turned. */
export class OrientedParticle {
  /**
   * @param {Catalogue} data
   * @param {(place: {direction: number, turn: number}) => void} turned told the stored direction and the angle in the
   *   plane [whole degrees] that the reader asks for.
   */
  constructor(data, turned) {
    this.data = data;
    this.turned = turned;
    /** @type {Partial<Place>} what is shown; no direction while the view is off the one that was chosen. */
    this.shown = {};
    this.wave = data.waves[0];
    /** @type {Matrix | undefined} */
    this.matrix = undefined;
    /** @type {JsonAssets["particles"] | undefined} */
    this.particles = undefined;
    /** @type {ReturnType<CodeAssets["particle-3d"]> | undefined} */
    this.view = undefined;
    this.asked = false;
    this.symmetries = data.shapes.map(({ corners }) => new Symmetry(Object.values(corners)));
    this.triangle = new DirectionTriangle(this.symmetries[0], (direction) => {
      // Also the direction that is chosen already: the view may be off it.
      this.shown.direction = undefined;
      turned({ direction, turn: this.shown.turn ?? 0 });
    });
    this.canvas = particleCanvas();
    this.place = make("p", { className: "play-place" });
    this.caption = make("figcaption", {}, "seen along the beam; drag to turn");
    this.box = make("figure", {}, this.canvas, this.caption);
    const choose = make("figure", {}, this.triangle.element, make("figcaption", {}, "beam directions; choose one"));
    this.element = make("div", {}, make("div", { className: "play-directions" }, this.box, choose), this.place);
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      this.#loadAtoms();
    }).observe(this.canvas);
    // The view in three dimensions is half a megabyte: it waits until somebody is about to turn the particle.
    for (const event of ["pointerenter", "focusin"]) {
      this.box.addEventListener(event, () => this.#loadView(), { once: true });
    }
  }

  /**
   * Stored waves of a shape and size, in the order of their directions.
   * @param {number} shape
   * @param {number} size [Å].
   */
  waves(shape, size) {
    return this.data.waves.filter((wave) => wave.shape === shape && wave.size_A === size);
  }

  /**
   * Show a shape, a size [Å] and a stored direction, turned in the plane [degrees].
   * @param {Place} place
   */
  show({ shape, size, direction, turn }) {
    const { shown } = this;
    const same = shape === shown.shape && size === shown.size;
    // The reader has just turned the particle thus, and it stays where it was left.
    if (same && direction === shown.direction && turn === shown.turn) return;
    const waves = this.waves(shape, size);
    const symmetry = this.symmetries[shape];
    if (!same) {
      const { corners } = this.data.shapes[shape];
      const directions = waves.map((wave) => wave.direction);
      this.triangle.show(symmetry, Object.keys(corners), directions, waves.map((wave) => this.words(wave)));
      this.matrix = undefined;
    }
    if (shown.shape !== undefined) this.#loadView();
    const wanted = times(rotation([0, 0, 1], turn), waves[direction].rotation);
    // Of all turns that look the same, the one that needs the shortest way.
    const matrix = this.matrix ? symmetry.nearest(wanted, this.matrix) : wanted;
    this.wave = waves[direction];
    this.shown = { shape, size, direction, turn };
    this.matrix = matrix;
    this.#showAtoms();
    this.view?.turn(matrix);
    this.#tell(matrix);
  }

  /**
   * The direction of a wave's beam in words: how far it is from the nearest corner.
   * @param {Wave} wave
   */
  words({ shape, direction }) {
    const corners = Object.entries(this.data.shapes[shape].corners);
    const angles = corners.map(([name, axis]) => ({ name, angle: angleBetween(axis, direction) }));
    const { name, angle } = angles.reduce((best, each) => (each.angle < best.angle ? each : best));
    return angle < 0.5 ? `along ${name}` : `${words(angle)}° from ${name}`;
  }

  /** @param {Matrix} matrix how the particle is turned. */
  #tell(matrix) {
    const beam = beamDirection(matrix);
    this.triangle.mark(this.waves(this.wave.shape, this.wave.size_A).indexOf(this.wave), beam);
    const off = angleBetween(this.symmetries[this.wave.shape].reduce(beam), this.wave.direction);
    const aside = off < 0.5 ? "" : `; the view is ${words(off)}° off this stored direction`;
    this.place.textContent = `Beam ${this.words(this.wave)}, ${this.wave.atoms} atoms${aside}.`;
  }

  /**
   * The reader turns the particle: the nearest stored direction is asked for when it comes to rest.
   * @param {Matrix} matrix
   * @param {boolean} done
   */
  #turned(matrix, done) {
    const { shape, size_A } = this.wave;
    const direction = this.triangle.nearest(beamDirection(matrix));
    this.matrix = matrix;
    this.wave = this.waves(shape, size_A)[direction];
    this.shown.direction = direction;
    this.#tell(matrix);
    if (!done) return;
    const turn = Math.round(this.symmetries[shape].align(matrix, this.wave.rotation).turn);
    this.shown.turn = turn;
    this.turned({ direction, turn });
  }

  #showAtoms() {
    if (!this.particles || !this.matrix) return;
    const name = `${this.wave.shape}-${this.wave.size_A}`;
    const { colour } = this.data.shapes[this.wave.shape];
    const radius = this.data.gold.neighbours_A / 2;
    const atoms = this.particles[name].map((hundredths) => hundredths / 100);
    if (this.view) this.view.show(name, atoms, radius, colour);
    else drawStill(this.canvas, atoms, this.matrix, radius, colour);
  }

  async #loadAtoms() {
    try {
      this.particles = await loadJson("particles");
      this.#showAtoms();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Put the view in three dimensions in the place of the still picture, once. */
  async #loadView() {
    if (this.asked) return;
    this.asked = true;
    try {
      const [showParticle, particles] = await Promise.all([loadCode("particle-3d"), loadJson("particles")]);
      this.particles = particles;
      const canvas = particleCanvas();
      this.view = showParticle(canvas, (matrix, done) => this.#turned(matrix, done));
      const focused = document.activeElement === this.canvas;
      this.canvas.replaceWith(canvas);
      this.canvas = canvas;
      if (focused) canvas.focus();
      if (this.matrix) this.view.turn(this.matrix);
      this.#showAtoms();
      canvas.dataset.live = "";
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    this.caption.replaceChildren(make("span", { className: "play-sentence" }, reason(error)));
  }
}

function particleCanvas() {
  const hint = "Particle, seen along the beam as the camera sees it: drag it, or use the arrow keys";
  const attributes = { role: "application", "aria-label": hint, tabindex: 0 };
  return make("canvas", { className: "play-body", width: 400, height: 400, attributes });
}
