import assert from "node:assert/strict";
import { test } from "node:test";

import { quantiles } from "../../book/play/optics/statistics.js";
import { words } from "../../book/play/view/controls.js";
import { Newest } from "../../book/play/view/newest.js";
import { unseen } from "../../book/play/view/probabilities.js";

test("numbers have a proper minus, and zero has none", () => {
  assert.equal(words(-12.34, 1), "−12.3");
  assert.equal(words(-0.01), "0");
  assert.equal(words(0.05, 2), "0.05");
});

test("of requests that come during work only the newest is done, after it", async () => {
  const done = [];
  const newest = new Newest(async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    done.push(request);
  });
  const all = [1, 2, 3, 4].map((request) => newest.ask(request));
  await Promise.all(all);
  assert.deepEqual(done, [1, 4]);
  await newest.ask(5);
  assert.deepEqual(done, [1, 4, 5]);
});

test("knobs beyond the training images are named", () => {
  const knobs = [{ name: "dose", label: "dose" }, { name: "focus", label: "defocus" }];
  const card = { seen: { dose: [1000, 1000], focus: [-130, 130] } };
  assert.deepEqual(unseen(knobs, { dose: 1000.0001, focus: -130 }, card), []);
  assert.deepEqual(unseen(knobs, { dose: 900, focus: 135 }, card), ["dose", "defocus"]);
});

test("quantiles count from the least to the greatest", () => {
  assert.deepEqual(quantiles(Float32Array.from([5, 1, 4, 2, 3]), 0, 0.5, 1), [1, 3, 5]);
});
