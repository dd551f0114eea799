// Reading image files: a script of its own, loaded when the reader gives the page a file.

import { prepare, readImage } from "./ownimage.js";

globalThis.nanoshapeCode?.("files", { prepare, readImage });
