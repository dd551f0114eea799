// @ts-check
// The page without a kernel.

import { loadAsset, loadJson } from "../io/assets.js";
import { startFourier } from "../optics/fourier.js";
import { make, reason } from "../view/controls.js";
import { Explorer } from "../view/explorer.js";
import { OwnImage } from "../view/own-image.js";

/**
 * Build the explorer inside an element; on failure one sentence takes its place, and the figure below stays.
 * @param {HTMLElement} root
 */
async function start(root) {
  const status = make("p", { className: "play-status", attributes: { role: "status" } }, "Loading the first wave …");
  root.replaceChildren(status);
  try {
    const [data, wasm] = await Promise.all([loadJson("waves"), loadAsset("fft-wasm")]);
    const explorer = new Explorer(data, await startFourier(wasm));
    root.replaceChildren(explorer.element, new OwnImage(data.shapes).element);
    await explorer.start();
  } catch (error) {
    status.textContent = `${reason(error)} The figure below does not need it.`;
    root.replaceChildren(status);
  }
}

const root = document.getElementById("nanoshape-play");
if (root) start(root);
