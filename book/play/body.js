// The particle and the direction of the beam: a view in three dimensions and the triangle, which follow each other.

import { loadCode, loadJson } from "./assets.js";
import { make, words } from "./controls.js";
import { drawStill } from "./still.js";
import { Symmetry, angleBetween, beamDirection, rotation, times } from "./symmetry.js";
import { Triangle } from "./triangle.js";

/** The particle of the explorer, and how it is turned. */
export class Body {
  /**
   * @param {object} data the asset `waves`.
   * @param {(place: {direction: number, turn: number}) => void} turned told the stored direction and the angle in the
   *   plane [whole degrees] that the reader asks for.
   */
  constructor(data, turned) {
    Object.assign(this, { data, turned });
    this.symmetries = data.shapes.map(({ corners }) => new Symmetry(Object.values(corners)));
    this.triangle = new Triangle((direction) => {
      // Also the direction that is chosen already: the view may be off it.
      this.direction = undefined;
      turned({ direction, turn: this.turn });
    });
    this.canvas = bodyCanvas();
    this.place = make("p", { className: "play-place" });
    this.box = make("figure", {}, this.canvas, make("figcaption", {}, "seen along the beam; drag to turn"));
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

  /** Stored waves of a shape and size, in the order of their directions. */
  waves(shape, size) {
    return this.data.waves.filter((wave) => wave.shape === shape && wave.size_A === size);
  }

  /** Show a shape, a size [Å] and a stored direction, turned in the plane [degrees]. */
  show({ shape, size, direction, turn }) {
    const same = shape === this.shape && size === this.size && direction === this.direction && turn === this.turn;
    // The reader has just turned the particle thus, and it stays where it was left.
    if (same) return;
    const waves = this.waves(shape, size);
    const symmetry = this.symmetries[shape];
    if (shape !== this.shape || size !== this.size) {
      const { corners } = this.data.shapes[shape];
      const directions = waves.map((wave) => wave.direction);
      this.triangle.show(symmetry, Object.keys(corners), directions, waves.map((wave) => this.words(wave)));
      this.matrix = undefined;
    }
    if (this.shape !== undefined) this.#loadView();
    const wanted = times(rotation([0, 0, 1], turn), waves[direction].rotation);
    // Of all turns that look the same, the one that needs the shortest way.
    this.matrix = this.matrix ? symmetry.nearest(wanted, this.matrix) : wanted;
    Object.assign(this, { shape, size, direction, turn, wave: waves[direction] });
    this.#showAtoms();
    this.view?.turn(this.matrix);
    this.#tell();
  }

  /** The direction of a wave's beam in words: how far it is from the nearest corner. */
  words({ shape, direction }) {
    const corners = Object.entries(this.data.shapes[shape].corners);
    const angles = corners.map(([name, axis]) => [name, angleBetween(axis, direction)]);
    const [name, angle] = angles.reduce((best, each) => (each[1] < best[1] ? each : best));
    return angle < 0.5 ? `along ${name}` : `${words(angle)}° from ${name}`;
  }

  #tell() {
    const beam = beamDirection(this.matrix);
    this.triangle.mark(this.direction, beam);
    const off = angleBetween(this.symmetries[this.shape].reduce(beam), this.wave.direction);
    const aside = off < 0.5 ? "" : `; the view is ${words(off)}° off this stored direction`;
    this.place.textContent = `Beam ${this.words(this.wave)}, ${this.wave.atoms} atoms${aside}.`;
  }

  /** The reader turns the particle: the nearest stored direction is asked for when it comes to rest. */
  #turned(matrix, done) {
    this.matrix = matrix;
    const symmetry = this.symmetries[this.shape];
    const direction = this.triangle.nearest(beamDirection(matrix));
    const wave = this.waves(this.shape, this.size)[direction];
    if (!done) {
      Object.assign(this, { direction, wave });
      this.#tell();
      return;
    }
    const turn = Math.round(symmetry.align(matrix, wave.rotation).turn);
    Object.assign(this, { direction, wave, turn });
    this.#tell();
    this.turned({ direction, turn });
  }

  #showAtoms() {
    if (!this.particles) return;
    const name = `${this.shape}-${this.size}`;
    const { colour } = this.data.shapes[this.shape];
    const radius = this.data.gold.neighbours_A / 2;
    if (!this.view) {
      drawStill(this.canvas, this.#atoms(name), this.matrix, radius, colour);
    } else if (this.shown !== name) {
      this.view.show(this.#atoms(name), radius, colour);
      this.shown = name;
    }
  }

  #atoms(name) {
    return this.particles[name].map((hundredths) => hundredths / 100);
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
      const [showParticle, particles] = await Promise.all([loadCode("particle3d"), loadJson("particles")]);
      this.particles = particles;
      const canvas = bodyCanvas();
      this.view = showParticle(canvas, (matrix, done) => this.#turned(matrix, done));
      const focused = document.activeElement === this.canvas;
      this.canvas.replaceWith(canvas);
      this.canvas = canvas;
      if (focused) canvas.focus();
      this.view.turn(this.matrix);
      this.#showAtoms();
      canvas.dataset.live = "";
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    this.box.lastElementChild.replaceChildren(make("span", { className: "play-sentence" }, error.message));
  }
}

function bodyCanvas() {
  const hint = "Particle, seen along the beam as the camera sees it: drag it, or use the arrow keys";
  const attributes = { role: "application", "aria-label": hint, tabindex: 0 };
  return make("canvas", { className: "play-body", width: 400, height: 400, attributes });
}
