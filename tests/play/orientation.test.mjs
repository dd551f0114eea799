import assert from "node:assert/strict";
import { test } from "node:test";

import { uniform } from "../../book/play/optics/camera.js";
import { Symmetry, angleBetween, beamDirection, dot, rotation, times, transposed, unit } from "../../book/play/optics/orientation.js";

const golden = (1 + Math.sqrt(5)) / 2;
const cubic = new Symmetry([[1, 0, 0], unit([1, 1, 0]), unit([1, 1, 1])]);
const icosahedral = new Symmetry([[1, 0, 0], unit([golden, 0, 1]), unit([golden ** 2, 1, 0])]);
const groups = [[cubic, 24], [icosahedral, 60]];
const random = uniform(7);
const anyUnit = () => unit([0, 0, 0].map(() => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())));
const anyRotation = () => rotation(anyUnit(), 360 * random());
const close = (a, b, tolerance = 1e-9) => a.every((value, i) => Math.abs(value - b[i]) < tolerance);

test("rotations turn counter-clockwise and are orthogonal", () => {
  assert.ok(close(rotation([0, 0, 1], 90), [0, -1, 0, 1, 0, 0, 0, 0, 1]));
  const matrix = anyRotation();
  assert.ok(close(times(matrix, transposed(matrix)), [1, 0, 0, 0, 1, 0, 0, 0, 1]));
});

test("a cubic direction is reduced to its sorted absolute components", () => {
  for (let i = 0; i < 200; i++) {
    const direction = anyUnit();
    assert.ok(close(cubic.reduce(direction), direction.map(Math.abs).sort((a, b) => b - a)));
  }
});

test("all directions that look the same are reduced to one, inside the sector", () => {
  for (const [symmetry] of groups) {
    const direction = anyUnit();
    const reduced = symmetry.reduce(direction);
    symmetry.mirrors.forEach((normal) => assert.ok(dot(normal, reduced) > -1e-9));
    for (const element of symmetry.rotations) {
      const equal = [0, 3, 6].map((row) => dot(element.slice(row, row + 3), direction));
      assert.ok(close(symmetry.reduce(equal), reduced));
      assert.ok(close(symmetry.reduce(equal.map((value) => -value)), reduced), "inversion is one of the symmetries");
    }
  }
});

test("the proper rotations of a cube are 24, of an icosahedron 60, and form a group", () => {
  for (const [symmetry, order] of groups) {
    const elements = symmetry.rotations;
    assert.equal(elements.length, order);
    const product = times(elements[5], elements[order - 1]);
    assert.ok(elements.some((element) => close(element, product)));
  }
});

test("the triangle's places lead back to their directions", () => {
  for (const [symmetry] of groups) {
    for (let i = 0; i < 50; i++) {
      const direction = symmetry.reduce(anyUnit());
      assert.ok(angleBetween(symmetry.lift(symmetry.project(direction)), direction) < 1e-6);
    }
    assert.ok(close(symmetry.project(symmetry.corners[0]), [0, 0]));
    assert.ok(Math.abs(symmetry.project(symmetry.corners[1])[1]) < 1e-12, "the second corner lies on the x axis");
    assert.ok(symmetry.project(symmetry.corners[2])[1] > 0.1, "the third above it");
  }
});

test("a place outside the triangle leads to a direction on its rim", () => {
  for (const [symmetry] of groups) {
    for (const place of [[-0.3, 0], [0.2, -0.4], [0.9, 0.9], [0, 0.5]]) {
      const direction = symmetry.lift(place);
      const depths = symmetry.mirrors.map((normal) => dot(normal, direction));
      assert.ok(Math.min(...depths) > -1e-6 && Math.min(...depths) < 1e-6, `${place}: ${depths}`);
    }
  }
});

test("stereographic places keep angles", () => {
  // The corners of the cubic sector: 45° at [001], 90° at [011], 60° at [111].
  for (const [corner, expected] of [[0, 45], [1, 90], [2, 60]]) {
    const [from, ...to] = [0, 1, 2].map((i) => cubic.corners[(corner + i) % 3]);
    const [x, y] = cubic.project(from);
    const sides = to.map((end) => {
      const [px, py] = cubic.project(unit(from.map((value, i) => value + 1e-4 * end[i])));
      return Math.atan2(py - y, px - x);
    });
    const angle = Math.abs(((sides[1] - sides[0]) * 180) / Math.PI);
    assert.ok(Math.abs(Math.min(angle, 360 - angle) - expected) < 0.1, `${corner}: ${angle}`);
  }
});

test("a particle that looks like a stored one turned in the plane is recognised", () => {
  for (const [symmetry] of groups) {
    const stored = anyRotation();
    for (const turn of [-170, -45, 0, 12.5, 90]) {
      const element = symmetry.rotations[Math.floor(random() * symmetry.rotations.length)];
      const matrix = times(rotation([0, 0, 1], turn), times(stored, element));
      const found = symmetry.align(matrix, stored);
      assert.ok(close(found.matrix, matrix, 1e-6), "it does not move");
      const same = times(rotation([0, 0, 1], found.turn), stored);
      assert.ok(symmetry.rotations.some((g) => close(times(same, g), matrix, 1e-6)), "the turn makes it look the same");
    }
  }
});

test("of all turns that look the same the nearest is taken", () => {
  for (const [symmetry] of groups) {
    const matrix = anyRotation();
    const small = rotation(anyUnit(), 5);
    const far = times(matrix, symmetry.rotations[7]);
    assert.ok(close(symmetry.nearest(far, times(small, matrix)), matrix, 1e-6));
  }
});

test("the beam's direction is that along which the turned particle is seen", () => {
  const matrix = anyRotation();
  const direction = beamDirection(matrix);
  assert.ok(close([0, 3, 6].map((row) => dot(matrix.slice(row, row + 3), direction)), [0, 0, 1]));
});
