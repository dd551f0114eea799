// @ts-check
// Reading image files, loaded when the reader gives the page a file.

import { readImage } from "../io/image-files.js";

globalThis.nanoshapeCode("image-files", readImage);
