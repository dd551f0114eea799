// The page without a kernel.

import { loadAsset, loadJson } from "./assets.js";
import { make } from "./controls.js";
import { Explorer } from "./explorer.js";
import { startFft } from "./fft.js";
import { ownImage } from "./own.js";

/** Build the explorer inside an element; on failure one sentence takes its place, and the figure below stays. */
async function start(root) {
  const status = make("p", { className: "play-status", attributes: { role: "status" } }, "Loading the first wave …");
  root.replaceChildren(status);
  try {
    const [data, wasm] = await Promise.all([loadJson("waves"), loadAsset("fft-wasm")]);
    const explorer = new Explorer(data, await startFft(wasm));
    root.replaceChildren(explorer.element, ownImage(data.shapes));
    await explorer.start();
  } catch (error) {
    status.textContent = `${error.message} The figure below does not need it.`;
    root.replaceChildren(status);
  }
}

const root = document.getElementById("nanoshape-play");
if (root) start(root);
