// @ts-check
// ONNX Runtime for the page.

import { InferenceSession, Tensor, env } from "onnxruntime-web/wasm";

/**
 * Start a network in WebAssembly, in one thread and without further files.
 * @param {Uint8Array} wasm ONNX Runtime's WebAssembly
 * @param {Uint8Array} network ONNX graph from `image` (N, 1, 128, 128) to `logits`
 * @returns {Promise<(image: Float32Array) => Promise<Float32Array>>} logits (5) of one image (128 * 128)
 */
export async function startNetwork(wasm, network) {
  env.wasm.wasmBinary = wasm;
  env.wasm.numThreads = 1;
  env.logLevel = "error";
  const session = await InferenceSession.create(network, { executionProviders: ["wasm"] });
  return async (image) => {
    const input = new Tensor("float32", image, [1, 1, 128, 128]);
    const { logits } = await session.run({ image: input });
    return /** @type {Float32Array} */ (logits.data);
  };
}
