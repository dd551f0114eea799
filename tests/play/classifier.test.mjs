import assert from "node:assert/strict";
import { test } from "node:test";

import { createClassifier, softmax } from "../../book/play/io/classifier.js";
import { startNetwork } from "../../book/play/io/onnx-runtime.js";

const card = { temperature: 0.5 };
const image = (value) => new Float32Array(128 * 128).fill(value);
/** A network whose logits are the image's first pixel times 0, 1, 2, 3, 4, and that refuses two images at a time. */
async function start() {
  let busy = false;
  return async (pixels) => {
    assert.ok(!busy, "two images at a time");
    busy = true;
    await new Promise((resolve) => setTimeout(resolve, 2));
    busy = false;
    return Float32Array.from([0, 1, 2, 3, 4], (k) => k * pixels[0]);
  };
}

test("probabilities are the softmax of the logits over the temperature", () => {
  const odds = softmax([0, Math.log(2), Math.log(3)], 0.5);
  [1 / 14, 4 / 14, 9 / 14].forEach((value, k) => assert.ok(Math.abs(odds[k] - value) < 1e-7));
});

test("probabilities of huge logits are numbers", () => {
  assert.deepEqual([...softmax([1e4, -1e4, 0])], [1, 0, 0]);
});

test("images asked for at once are answered one after another, each with its own answer", async () => {
  const { classify } = await createClassifier(start, null, null, card);
  const answers = await Promise.all([0, 0.3, -0.2].map((value) => classify(image(value))));
  [0, 0.3, -0.2].forEach((value, i) => {
    const expected = softmax([0, 1, 2, 3, 4].map((k) => k * value), 0.5);
    answers[i].forEach((found, k) => assert.ok(Math.abs(found - expected[k]) < 1e-6));
  });
});

test("a bad image is refused in one sentence, and the next one is answered", async () => {
  const { classify } = await createClassifier(start, null, null, card);
  const refused = classify(new Float32Array(100));
  const next = classify(image(0));
  await assert.rejects(refused, { message: "The image has 100 pixels, but must have 128 x 128." });
  assert.deepEqual([...(await next)], [...new Float32Array(5).fill(0.2)]);
  await assert.rejects(classify(image(NaN)), { message: "The image has pixels that are not numbers." });
});

test("a runtime that is no WebAssembly ends in one sentence", async () => {
  const message = "The classifier does not start: its files beside this page are damaged, or the browser is too old.";
  await assert.rejects(createClassifier(startNetwork, new Uint8Array(100), new Uint8Array(100), card), { message });
});
