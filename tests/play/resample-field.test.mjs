import assert from "node:assert/strict";
import { test } from "node:test";

import { resampleField } from "../../book/play/optics/resample-field.js";

/** An image of a function of the place [Å], integrated over pixels that are separable waves: exact. */
function waves(size, pixel_A, terms) {
  const pixels = new Float32Array(size.width * size.height);
  const sinc = (x) => (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1);
  const shift = [(size.height - 1) / 2, (size.width - 1) / 2];
  terms.forEach(([amplitude, qRow, qColumn, phase]) => {
    const seen = amplitude * sinc(qRow * pixel_A) * sinc(qColumn * pixel_A);
    for (let i = 0; i < pixels.length; i++) {
      const [row, column] = [Math.floor(i / size.width) - shift[0], (i % size.width) - shift[1]];
      pixels[i] += seen * Math.cos(2 * Math.PI * pixel_A * (qRow * row + qColumn * column) + phase);
    }
  });
  return { pixels, ...size };
}

const inner = (check) => {
  let worst = 0;
  for (let row = 8; row < 120; row++) for (let column = 8; column < 120; column++) {
    worst = Math.max(worst, Math.abs(check(128 * row + column)));
  }
  return worst;
};
// {111} and {200} fringes of gold, a slow wave, and a constant.
const fringes = [[1, 0.3, 0.301, 0.4], [0.5, -0.1, 0.48, 1], [2, 0.012, 0.02, 2], [300, 0, 0, 0]];

test("a finer or coarser image becomes that of a camera with pixels of 1.0 Å", () => {
  const expected = waves({ width: 128, height: 128 }, 1, fringes).pixels;
  for (const pixel_A of [0.05, 0.21, 0.5, 0.83, 1.0]) {
    const pixels = Math.ceil(170 / pixel_A);
    const found = resampleField(waves({ width: pixels + 6, height: pixels }, pixel_A, fringes), pixel_A);
    const worst = inner((i) => found.image[i] - expected[i]);
    assert.ok(worst < 0.02, `${pixel_A} Å: ${worst}`);
  }
});

test("fringes finer than two pixels of 1.0 Å fold back as they do in such a camera", () => {
  const finer = [[1, 0.62, 0, 0.3], [2, 0.2, -0.7, 1], [100, 0, 0, 0]];
  const expected = waves({ width: 128, height: 128 }, 1, finer).pixels;
  const found = resampleField(waves({ width: 700, height: 700 }, 0.25, finer), 0.25);
  assert.ok(inner((i) => found.image[i] - expected[i]) < 0.02);
  assert.ok(inner((i) => found.image[i] - 100) > 0.5);
});

test("an image of 1.0 Å pixels comes back as it is", () => {
  const pixels = Float32Array.from({ length: 160 * 160 }, (_, i) => Math.sin(i * i) + 5);
  const { image } = resampleField({ pixels, width: 160, height: 160 }, 1);
  const worst = inner((i) => image[i] - pixels[160 * ((i >> 7) + 16) + (i & 127) + 16]);
  assert.ok(worst < 1e-5, `${worst}`);
});

test("the field lies round the place that is asked for, but inside the image", () => {
  const spot = { row: 300, column: 420 };
  const pixels = Float32Array.from({ length: 700 * 600 }, (_, i) => {
    const [row, column] = [Math.floor(i / 700) - spot.row, (i % 700) - spot.column];
    return -Math.exp(-0.5 * (row ** 2 + column ** 2) / 100);
  });
  const image = { pixels, width: 700, height: 600 };
  const darkest = (field) => field.indexOf(Math.min(...field));
  const centred = resampleField(image, 0.25, { row: 302, column: 418 });
  assert.deepEqual(centred.centre, { row: 302, column: 418 });
  assert.ok([63, 64].includes(darkest(centred.image) >> 7) && [63, 64].includes(darkest(centred.image) & 127));
  const moved = resampleField(image, 0.25, { row: 0, column: 690 });
  assert.deepEqual(moved.centre, { row: 255.5, column: 443.5 });
  const [row, column] = [63.5 + (300 - 255.5) / 4, 63.5 + (420 - 443.5) / 4];
  assert.equal(darkest(moved.image), 128 * Math.round(row) + Math.round(column));
});

test("what cannot be prepared is refused in one sentence", () => {
  const image = waves({ width: 400, height: 300 }, 0.5, fringes);
  const flat = { pixels: new Float32Array(400 * 400).fill(2), width: 400, height: 400 };
  flat.pixels[0] = 3;
  const cases = [
    [image, 2, "The pixel size is 2 Å, but must lie between 0.05 and 1.25 Å to show the lattice of gold."],
    [image, undefined, /^The pixel size is undefined Å, but must lie /],
    [image, 0.25, "The image is 75 Å wide or high, but the classifier needs 128 Å."],
    [flat, 0.5, "The image is the same everywhere in the field that was chosen."],
  ];
  for (const [bad, pixelSize_A, message] of cases) assert.throws(() => resampleField(bad, pixelSize_A), { message });
});
