// @ts-check
// Grey images from PNG and TIFF files. Nothing leaves the page.

import { convertIndexedToRgb, decode as decodePng } from "fast-png";
import { decode as decodeTiff, isMultiPage } from "tiff";

import { SMALLEST_PIXEL_A } from "../optics/resample-field.js";

const SMALLEST_SIDE = 64;
const MOST_PIXELS = 64e6;
const MOST_BYTES = 512e6;
const LARGEST_NAMED_PIXEL_A = 10;
// Units that ImageJ writes into a TIFF, and those of the format itself (2 inch, 3 centimetre), in Å.
/** @type {Record<string, number>} */
const UNITS_A = { pm: 0.01, a: 1, å: 1, angstrom: 1, nm: 10, um: 1e4, micron: 1e4, mm: 1e7, cm: 1e8, inch: 2.54e8 };
/** @type {Record<number, string>} */
const RESOLUTION_UNITS = { 2: "inch", 3: "cm" };
const PHOTOMETRY = { whiteIsZero: 0, blackIsZero: 1, rgb: 2 };
const UNSIGNED = 1;
const SIGNED = 2;
const UNREADABLE =
  "is damaged, or of a kind that this page cannot read: save it as a grey TIFF of 16 bits without compression";

/** A reason, to follow the name of the file. */
class Refusal extends Error {}

const READERS = [
  { start: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], read: readPng },
  { start: [0x49, 0x49, 42, 0], read: readTiff },
  { start: [0x4d, 0x4d, 0, 42], read: readTiff },
];

/**
 * Read a grey image.
 *
 * PNG of 8 or 16 bits, TIFF of 8 or 16 bits or of floating-point numbers, plain or compressed by deflate or libtiff's LZW.
 * Pictures in colour whose three colours are equal everywhere are grey; transparency is ignored.
 * @param {Blob & {name: string}} file a dropped or chosen file.
 * @returns {Promise<OwnImage>} Rejects with one sentence, beginning with the file's name, if it is no such image,
 *   damaged, in colour, constant, has pixels that are not square or no numbers, is smaller than 64 pixels or has more
 *   than 64 million.
 *
 * @typedef {object} OwnImage
 * @property {Float32Array} pixels `pixels[width * row + column]`, rows from the top
 * @property {number} width [pixels]
 * @property {number} height [pixels]
 * @property {number} [pixelSize_A] side of a pixel [Å], if the file tells it and it lies between 0.05 and 10 Å; a PNG
 *   cannot tell it
 * @property {boolean} stack whether the file holds more images than this first one
 */
export async function readImage(file) {
  try {
    if (file.size > MOST_BYTES) throw new Refusal(`is larger than ${MOST_BYTES / 1e6} MB`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const reader = READERS.find(({ start }) => start.every((byte, i) => bytes[i] === byte));
    if (!reader) throw new Refusal("is neither a PNG nor a TIFF image");
    const image = reader.read(bytes);
    if (!image.pixels.every((value) => Number.isFinite(value))) throw new Refusal("has pixels that are not numbers");
    if (image.pixels.every((value) => value === image.pixels[0])) throw new Refusal("is the same everywhere");
    return image;
  } catch (error) {
    throw new Error(`${file.name} ${error instanceof Refusal ? error.message : UNREADABLE}.`);
  }
}

/** @type {(bytes: Uint8Array<ArrayBuffer>) => OwnImage} */
function readPng(bytes) {
  const header = new DataView(bytes.buffer, 16, 8);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  checkSize(width, height);
  const png = decodePng(bytes, { checkCrc: true });
  if (png.depth < 8 && !png.palette) throw new Refusal(`has ${png.depth} bits a pixel, but must have 8 or 16`);
  const data = png.palette ? convertIndexedToRgb(png) : png.data;
  return { pixels: grey(data, width * height), width, height, pixelSize_A: undefined, stack: false };
}

/** @type {(bytes: Uint8Array<ArrayBuffer>) => OwnImage} */
function readTiff(bytes) {
  const [header] = decodeTiff(bytes, { pages: [0], ignoreImageData: true });
  const { width, height, type, sampleFormat } = header;
  checkSize(width, height);
  if (!Object.values(PHOTOMETRY).includes(type)) throw new Refusal("is in colour, but must be grey");
  if (type === PHOTOMETRY.whiteIsZero && sampleFormat !== UNSIGNED) {
    throw new Refusal("is inverted: save it with black as zero");
  }
  const pixelSize_A = pixelSize(header);
  const [{ data }] = decodeTiff(bytes, { pages: [0] });
  const values = sampleFormat === SIGNED ? signed(data) : data;
  return { pixels: grey(values, width * height), width, height, pixelSize_A, stack: isMultiPage(bytes) };
}

/** @type {(width: number, height: number) => void} */
function checkSize(width, height) {
  if (width * height > MOST_PIXELS) {
    throw new Refusal(`has ${width} x ${height} pixels, but may have ${MOST_PIXELS / 1e6} million`);
  }
  if (!(Math.min(width, height) >= SMALLEST_SIDE)) {
    throw new Refusal(`has ${width} x ${height} pixels, but must have ${SMALLEST_SIDE} x ${SMALLEST_SIDE} or more`);
  }
}

/**
 * The first of one to four channels, if the colours agree; a second or fourth channel is transparency.
 * @param {ArrayLike<number>} data
 * @param {number} count
 */
function grey(data, count) {
  const channels = data.length / count;
  if (![1, 2, 3, 4].includes(channels)) throw new Error("pixels are missing");
  const colours = channels > 2 ? 3 : 1;
  const pixels = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const start = channels * i;
    for (let k = 1; k < colours; k++) {
      if (data[start + k] !== data[start]) throw new Refusal("is in colour, but must be grey");
    }
    pixels[i] = data[start];
  }
  return pixels;
}

/**
 * Whole numbers with a sign, which the reader takes for numbers without.
 * @param {ArrayLike<number>} data
 */
function signed(data) {
  return data instanceof Uint8Array ? Int8Array.from(data) : Int16Array.from(data);
}

/**
 * Pixel size [Å] of a TIFF file, if it has one that can be that of a micrograph.
 * @param {import("tiff").TiffIfd} header
 */
function pixelSize({ xResolution, yResolution, resolutionUnit, imageDescription = "" }) {
  const named = /^unit=(.+)$/m.exec(imageDescription)?.[1].trim().toLowerCase();
  const unit = named?.replace(/^(\\u00b5|µ|μ)m$/, "um").replace("\\u00c5", "å") ?? RESOLUTION_UNITS[resolutionUnit];
  const size_A = UNITS_A[unit] / xResolution;
  if (!(size_A >= SMALLEST_PIXEL_A && size_A <= LARGEST_NAMED_PIXEL_A)) return undefined;
  if (Math.abs(xResolution / yResolution - 1) > 0.01) throw new Refusal("has pixels that are not square");
  return size_A;
}
