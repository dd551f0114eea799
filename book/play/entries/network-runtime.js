// @ts-check
// ONNX Runtime, loaded when the classifier is first asked.

import { startNetwork } from "../io/onnx-runtime.js";

globalThis.nanoshapeCode("network-runtime", startNetwork);
