// @ts-check
// Live twins of figures S1, S2 and S4.

import { showTwin } from "../view/result-twins.js";

// Each cell of the page brings this script.
if (!globalThis.nanoshapeTwins) {
  globalThis.nanoshapeTwins = true;
  document.querySelectorAll("[data-twin]").forEach((root) => showTwin(/** @type {HTMLElement} */ (root)));
}
