// An image of the reader's own: read from a PNG or TIFF file, and resampled as the classifier takes it.
// Nothing leaves the page.

import { convertIndexedToRgb, decode as decodePng } from "fast-png";
import { decode as decodeTiff, isMultiPage } from "tiff";

const PIXELS = 128;
const MARGIN_A = 16;
const SMALLEST_PIXEL_A = 0.05;
const LARGEST_PIXEL_A = 1.25;
const FINE_PIXEL_A = 0.3;
const SMALLEST_SIDE = 64;
const MOST_PIXELS = 64e6;
const MOST_BYTES = 512e6;
const LARGEST_NAMED_PIXEL_A = 10;
// Units that ImageJ writes into a TIFF, and those of the format itself (2 inch, 3 centimetre), in Å.
const UNITS_A = { pm: 0.01, a: 1, å: 1, angstrom: 1, nm: 10, um: 1e4, micron: 1e4, mm: 1e7, cm: 1e8, inch: 2.54e8 };
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
 * @param {File} file a dropped or chosen file; any Blob with a `name` does
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
    if (!image.pixels.every(Number.isFinite)) throw new Refusal("has pixels that are not numbers");
    if (image.pixels.every((value) => value === image.pixels[0])) throw new Refusal("is the same everywhere");
    return image;
  } catch (error) {
    throw new Error(`${file.name} ${error instanceof Refusal ? error.message : UNREADABLE}.`);
  }
}

/**
 * Cut the field of the classifier, 128 Å by 128 Å, out of an image.
 *
 * Resampled in Fourier space to pixels of 1.0 Å as if they had integrated over 1.0 Å instead of the image's own pixel:
 * factor sinc(q * 1 Å) / sinc(q * pixelSize_A). Detail and noise beyond 0.5 / Å fold back, as in such a camera. The 16 Å
 * around the field are used, too, and fade out over their outer half; beyond the edge of the image its last pixels are
 * repeated.
 * Pixels of up to 0.15 Å are joined first, to at most 0.3 Å, to be quick.
 * @param {OwnImage} image as `readImage` gives it
 * @param {number} pixelSize_A side of its pixels [Å], 0.05 to 1.25
 * @param {{row: number, column: number}} [centre] middle of the field in pixels, (0, 0) the middle of the first;
 *   the image's middle unless given, and moved so that the field lies inside the image
 * @returns {{image: Float32Array, centre: {row: number, column: number}}} image (128 * 128) for `classify`,
 *   `image[128 * row + column]`, rows from the top, the order of the library's micrographs; and the middle that was
 *   used. Simulated images run [x, y] instead; the network knows particles in any turn and mirrored.
 * @throws {Error} one sentence if the pixel size is not allowed, the image shows less than the field or nothing in it
 */
export function prepare(image, pixelSize_A, centre = { row: (image.height - 1) / 2, column: (image.width - 1) / 2 }) {
  if (!(pixelSize_A >= SMALLEST_PIXEL_A && pixelSize_A <= LARGEST_PIXEL_A)) {
    const range = `between ${SMALLEST_PIXEL_A} and ${LARGEST_PIXEL_A} Å`;
    throw new Error(`The pixel size is ${pixelSize_A} Å, but must lie ${range} to show the lattice of gold.`);
  }
  const shown_A = Math.min(image.width, image.height) * pixelSize_A;
  if (shown_A < PIXELS * (1 - 1e-9)) {
    throw new Error(`The image is ${shown_A.toFixed(0)} Å wide or high, but the classifier needs ${PIXELS} Å.`);
  }
  const factor = Math.max(1, Math.floor(FINE_PIXEL_A / pixelSize_A));
  const { pixels, width, height } = joined(image, factor);
  const offset = (factor - 1) / 2;
  const rows = resampling((centre.row - offset) / factor, height, pixelSize_A * factor);
  const columns = resampling((centre.column - offset) / factor, width, pixelSize_A * factor);
  const size = rows.sources.length;
  const level = mean(rows.sources, (row) => mean(columns.sources, (column) => pixels[width * row + column]));
  const halfway = new Float64Array(PIXELS * size);
  for (let k = 0; k < size; k++) {
    const start = width * rows.sources[k];
    const line = Float64Array.from(columns.sources, (column) => pixels[start + column] - level);
    for (let i = 0; i < PIXELS; i++) {
      const weight = rows.weights[i * size + k];
      for (let m = 0; m < size; m++) halfway[i * size + m] += weight * line[m];
    }
  }
  const field = new Float32Array(PIXELS * PIXELS);
  for (let i = 0; i < PIXELS; i++) {
    for (let j = 0; j < PIXELS; j++) {
      let sum = 0;
      for (let m = 0; m < size; m++) sum += halfway[i * size + m] * columns.weights[j * size + m];
      field[PIXELS * i + j] = level + sum;
    }
  }
  if (field.every((value) => Math.abs(value - field[0]) <= 1e-6 * Math.abs(field[0]))) {
    throw new Error("The image is the same everywhere in the field that was chosen.");
  }
  return { image: field, centre: { row: rows.middle * factor + offset, column: columns.middle * factor + offset } };
}

/** An image of fewer pixels, each the mean of factor * factor. */
function joined({ pixels, width, height }, factor) {
  if (factor === 1) return { pixels, width, height };
  const [columns, rows] = [Math.floor(width / factor), Math.floor(height / factor)];
  const means = new Float32Array(rows * columns);
  for (let row = 0; row < rows * factor; row++) {
    const [from, to] = [width * row, columns * Math.floor(row / factor)];
    for (let column = 0; column < columns * factor; column++) {
      means[to + Math.floor(column / factor)] += pixels[from + column] / factor ** 2;
    }
  }
  return { pixels: means, width: columns, height: rows };
}

/** Along one axis: the field's middle [pixels], the n source pixels, and their weights (128 * n) in the field's. */
function resampling(centre, length, pixel_A) {
  const half = (PIXELS / pixel_A - 1) / 2;
  const middle = Math.max(half, Math.min(length - 1 - half, centre));
  const n = Math.ceil((PIXELS + 2 * MARGIN_A) / pixel_A);
  const corner = Math.round(middle - (n - 1) / 2);
  const sources = Int32Array.from({ length: n }, (_, k) => Math.max(0, Math.min(length - 1, corner + k)));
  // Fourier coefficients of the kernel at q = j / (n * pixel_A), those of -q included.
  const filter = [1 / n];
  for (let j = 1; j <= n / 2; j++) {
    const q = j / (n * pixel_A);
    filter.push(((2 * j === n ? 1 : 2) * sinc(q)) / sinc(q * pixel_A) / n);
  }
  const weights = new Float64Array(PIXELS * n);
  for (let k = 0; k < n; k++) {
    const depth_A = (Math.min(k, n - 1 - k) + 0.5) * pixel_A;
    const taper = 0.5 - 0.5 * Math.cos(Math.PI * Math.min(1, (2 * depth_A) / MARGIN_A));
    for (let i = 0; i < PIXELS; i++) {
      const distance_A = i - (PIXELS - 1) / 2 + (middle - corner - k) * pixel_A;
      weights[i * n + k] = taper * cosineSum(filter, (2 * Math.PI * distance_A) / (n * pixel_A));
    }
  }
  return { middle, sources, weights };
}

/** The sum over j of filter[j] * cos(j * angle), by the recurrence of the cosines. */
function cosineSum(filter, angle) {
  const twice = 2 * Math.cos(angle);
  let [before, now, sum] = [1, twice / 2, filter[0]];
  for (let j = 1; j < filter.length; j++) {
    sum += filter[j] * now;
    [before, now] = [now, twice * now - before];
  }
  return sum;
}

function mean(items, value) {
  return items.reduce((sum, item) => sum + value(item), 0) / items.length;
}

function sinc(x) {
  return x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1;
}

function readPng(bytes) {
  const header = new DataView(bytes.buffer, 16, 8);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  checkSize(width, height);
  const png = decodePng(bytes, { checkCrc: true });
  if (png.depth < 8 && !png.palette) throw new Refusal(`has ${png.depth} bits a pixel, but must have 8 or 16`);
  const data = png.palette ? convertIndexedToRgb(png) : png.data;
  return { pixels: grey(data, width * height), width, height, pixelSize_A: undefined, stack: false };
}

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

function checkSize(width, height) {
  if (width * height > MOST_PIXELS) {
    throw new Refusal(`has ${width} x ${height} pixels, but may have ${MOST_PIXELS / 1e6} million`);
  }
  if (!(Math.min(width, height) >= SMALLEST_SIDE)) {
    throw new Refusal(`has ${width} x ${height} pixels, but must have ${SMALLEST_SIDE} x ${SMALLEST_SIDE} or more`);
  }
}

/** The first of one to four channels, if the colours agree; a second or fourth channel is transparency. */
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

/** Whole numbers with a sign, which the reader takes for numbers without. */
function signed(data) {
  return data instanceof Uint8Array ? new Int8Array(data.buffer) : new Int16Array(data.buffer);
}

/** Pixel size [Å] of a TIFF file, if it has one that can be that of a micrograph. */
function pixelSize({ xResolution, yResolution, resolutionUnit, imageDescription = "" }) {
  const named = /^unit=(.+)$/m.exec(imageDescription)?.[1].trim().toLowerCase();
  const unit = named?.replace(/^(\\u00b5|µ|μ)m$/, "um").replace("\\u00c5", "å") ?? RESOLUTION_UNITS[resolutionUnit];
  const size_A = UNITS_A[unit] / xResolution;
  if (!(size_A >= SMALLEST_PIXEL_A && size_A <= LARGEST_NAMED_PIXEL_A)) return undefined;
  if (Math.abs(xResolution / yResolution - 1) > 0.01) throw new Refusal("has pixels that are not square");
  return size_A;
}
