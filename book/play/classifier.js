// The shipped network in the browser: one image in, five probabilities out.

import { loadAsset, loadCode, loadJson } from "./assets.js";

const PIXELS = 128;
const UNUSABLE = "The classifier does not start: its files beside this page are damaged, or the browser is too old.";

let loaded;

/**
 * Load the classifier, once; after a failure the next call tries again.
 * @returns {Promise<{classify: (image: Float32Array) => Promise<Float32Array>, card: object}>} see `createClassifier`.
 *   Rejects with one sentence if a file is missing or damaged, or the browser has no WebAssembly.
 */
export function loadClassifier() {
  loaded ??= load().catch((error) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function load() {
  if (typeof WebAssembly !== "object") {
    throw new Error("The classifier needs WebAssembly, which this browser does not have or does not allow.");
  }
  const parts = [loadCode("runtime"), loadAsset("runtime-wasm"), loadAsset("network"), loadJson("network-card")];
  return createClassifier(...(await Promise.all(parts)));
}

/**
 * A classifier from its parts: `startNetwork` of runtime.js, the bytes of the runtime and of the network, the card.
 *
 * `classify(image)` takes one image (128 * 128) of 1.0 Å a pixel in any unit of intensity: the network standardises it
 * itself. Pixel [x, y], x to the right and y upwards, is at `128 * x + y`, the library's order. It resolves to the
 * probabilities (5) of `card.classes`, softmax(logits / `card.temperature`).
 */
export async function createClassifier(startNetwork, wasm, network, card) {
  let compute;
  try {
    compute = await startNetwork(wasm, network);
  } catch {
    throw new Error(UNUSABLE);
  }
  // One after another: the runtime computes one image at a time.
  let last = Promise.resolve();
  const classify = (image) => {
    last = last.catch(() => {}).then(async () => {
      check(image);
      return softmax(await compute(image), card.temperature);
    });
    return last;
  };
  return { classify, card };
}

/** Probabilities of logits at a temperature, as a Float32Array. */
export function softmax(logits, temperature = 1) {
  const highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = powers.reduce((a, b) => a + b);
  return Float32Array.from(powers, (power) => power / sum);
}

function check(image) {
  if (image.length !== PIXELS * PIXELS) {
    throw new Error(`The image has ${image.length} pixels, but must have ${PIXELS} x ${PIXELS}.`);
  }
  if (!image.every(Number.isFinite)) {
    throw new Error("The image has pixels that are not numbers.");
  }
}
