// @ts-check
// The shipped network in the browser: one image in, five probabilities out.

import { PIXELS } from "../optics/resample-field.js";
import { loadAsset, loadCode, loadJson } from "./assets.js";

const UNUSABLE = "The classifier does not start: its files beside this page are damaged, or the browser is too old.";

/** @typedef {Awaited<ReturnType<typeof createClassifier>>} Classifier */

/** @type {Promise<Classifier> | undefined} */
let loaded;

/**
 * Load the classifier, once; after a failure the next call tries again.
 *
 * Rejects with one sentence if a file is missing or damaged, or the browser has no WebAssembly.
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
  const files = [loadAsset("runtime-wasm"), loadAsset("network")];
  const [start, card, wasm, network] = await Promise.all([
    loadCode("network-runtime"), loadJson("network-card"), ...files,
  ]);
  return createClassifier(start, wasm, network, card);
}

/**
 * A classifier from its parts.
 *
 * `classify(image)` takes one image (128 * 128) of 1.0 Å a pixel in any unit of intensity: the network standardises it
 * itself. Pixel [x, y], x to the right and y upwards, is at `128 * x + y`, the library's order. It resolves to the
 * probabilities (5) of `card.classes`, softmax(logits / `card.temperature`).
 * @param {CodeAssets["network-runtime"]} startNetwork
 * @param {Uint8Array} wasm the runtime.
 * @param {Uint8Array} network
 * @param {NetworkCard} card
 */
export async function createClassifier(startNetwork, wasm, network, card) {
  const compute = await startNetwork(wasm, network).catch(() => {
    throw new Error(UNUSABLE);
  });
  // One after another: the runtime computes one image at a time.
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @type {(image: Float32Array) => Promise<Float32Array>} */
  const classify = (image) => {
    const answer = last.catch(() => {}).then(async () => {
      check(image);
      return softmax(await compute(image), card.temperature);
    });
    last = answer;
    return answer;
  };
  return { classify, card };
}

/**
 * Probabilities of logits at a temperature.
 * @param {ArrayLike<number>} logits
 */
export function softmax(logits, temperature = 1) {
  const highest = Math.max(...Array.from(logits));
  const powers = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = powers.reduce((a, b) => a + b);
  return Float32Array.from(powers, (power) => power / sum);
}

/** @param {Float32Array} image */
function check(image) {
  if (image.length !== PIXELS * PIXELS) {
    throw new Error(`The image has ${image.length} pixels, but must have ${PIXELS} x ${PIXELS}.`);
  }
  if (!image.every((value) => Number.isFinite(value))) {
    throw new Error("The image has pixels that are not numbers.");
  }
}
