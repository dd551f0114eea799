import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "../../book/node_modules/fast-png/lib/index.js";

import { readImage } from "../../book/play/io/image-files.js";

const file = (bytes, name) => Object.assign(new Blob([bytes]), { name });
const ramp = (Kind, length, scale = 1) => Kind.from({ length }, (_, i) => scale * ((7 * i) % 101));

/** A TIFF file of one uncompressed strip; `entries` are further [tag, type, value] of its directory. */
function tiff({ width, height, bits, format, bytes, colours = 1, photometric = 1, entries = [], big = false }) {
  const tags = [
    [256, 4, width],
    [257, 4, height],
    [258, 3, bits],
    [259, 3, 1],
    [262, 3, photometric],
    [277, 3, colours],
    [278, 4, height],
    [279, 4, bytes.length],
    [339, 3, format],
    ...entries,
  ];
  const start = 8 + 2 + 12 * (tags.length + 1) + 4;
  tags.push([273, 4, start + 256]);
  tags.sort((a, b) => a[0] - b[0]);
  const view = new DataView(new ArrayBuffer(start + 256 + bytes.length));
  const little = !big;
  view.setUint16(0, big ? 0x4d4d : 0x4949);
  view.setUint16(2, 42, little);
  view.setUint32(4, 8, little);
  view.setUint16(8, tags.length, little);
  let spare = start;
  tags.forEach(([tag, type, value], i) => {
    const at = 10 + 12 * i;
    const count = type === 2 ? value.length : 1;
    view.setUint16(at, tag, little);
    view.setUint16(at + 2, type, little);
    view.setUint32(at + 4, count, little);
    if (type === 3) view.setUint16(at + 8, value, little);
    if (type === 4) view.setUint32(at + 8, value, little);
    if (type === 2) [...value].forEach((letter, k) => view.setUint8(spare + k, letter.charCodeAt(0)));
    if (type === 5) value.forEach((part, k) => view.setUint32(spare + 4 * k, part, little));
    if (type === 2 || type === 5) {
      view.setUint32(at + 8, spare, little);
      spare += type === 2 ? count : 8;
    }
  });
  new Uint8Array(view.buffer).set(bytes, start + 256);
  return file(view.buffer, "particle.tif");
}

const side = { width: 80, height: 64 };
const resolution = (x, unit, y = x) => [
  [282, 5, x],
  [283, 5, y],
  [296, 3, unit],
];
const grey16 = (entries) => {
  const values = ramp(Uint16Array, 80 * 64, 600);
  return tiff({ ...side, bits: 16, format: 1, bytes: new Uint8Array(values.buffer), entries });
};

test("a PNG of 8 and of 16 bits gives its values, rows from the top", async () => {
  for (const [Kind, depth, scale] of [[Uint8Array, 8, 2], [Uint16Array, 16, 600]]) {
    const data = ramp(Kind, 80 * 64, scale);
    const image = await readImage(file(encode({ ...side, data, depth, channels: 1 }), "a.png"));
    assert.deepEqual([image.width, image.height, image.pixelSize_A, image.stack], [80, 64, undefined, false]);
    assert.deepEqual(image.pixels, Float32Array.from(data));
  }
});

test("a picture in equal colours is grey, whatever its transparency", async () => {
  const values = ramp(Uint8Array, 80 * 64);
  const data = Uint8Array.from({ length: 4 * 80 * 64 }, (_, i) => (i % 4 === 3 ? i % 251 : values[i >> 2]));
  const image = await readImage(file(encode({ ...side, data, depth: 8, channels: 4 }), "a.png"));
  assert.deepEqual(image.pixels, Float32Array.from(values));
});

test("a TIFF of any grey kind and byte order gives its values", async () => {
  const kinds = [[Uint8Array, 8, 1, 2], [Int8Array, 8, 2, -1], [Uint16Array, 16, 1, 600], [Int16Array, 16, 2, -300]];
  for (const [Kind, bits, format, scale] of [...kinds, [Float32Array, 32, 3, 0.37], [Float64Array, 64, 3, -1e6]]) {
    const values = ramp(Kind, 80 * 64, scale);
    for (const big of [false, true]) {
      const bytes = new Uint8Array(values.buffer.slice(0));
      if (big) for (let i = 0; i < bytes.length; i += bits / 8) bytes.subarray(i, i + bits / 8).reverse();
      const image = await readImage(tiff({ ...side, bits, format, bytes, big }));
      assert.deepEqual(image.pixels, Float32Array.from(values), `${Kind.name} ${big}`);
    }
  }
});

test("an inverted TIFF is turned round", async () => {
  const values = ramp(Uint8Array, 80 * 64);
  const image = await readImage(tiff({ ...side, bits: 8, format: 1, bytes: values, photometric: 0 }));
  assert.deepEqual(image.pixels, Float32Array.from(values, (value) => 255 - value));
});

test("the pixel size is that of ImageJ's unit or of the resolution, and absurd ones are left out", async () => {
  const described = (unit, x) => [[270, 2, `ImageJ=1.54\nunit=${unit}\nloop=false\n\0`], ...resolution(x, 1)];
  const expected = [
    [described("nm", [50, 1]), 0.2],
    [described("\\u00B5m", [40_000, 1]), 0.25],
    [described("pm", [1, 25]), 0.25],
    [resolution([250_000_000, 1], 3), 0.4],
    [resolution([72, 1], 2), undefined],
    [[], undefined],
  ];
  for (const [entries, size_A] of expected) {
    const found = (await readImage(grey16(entries))).pixelSize_A;
    assert.ok(found === size_A || Math.abs(found / size_A - 1) < 1e-6, `${found} ${size_A}`);
  }
});

test("every file that is no grey image is refused in one sentence that names it", async () => {
  const values = ramp(Uint8Array, 80 * 64);
  const png = (data, channels, size = side) => file(encode({ ...size, data, depth: 8, channels }), "a.png");
  const whole = new Uint8Array(await png(values, 1).arrayBuffer());
  const bomb = whole.slice();
  new DataView(bomb.buffer).setUint32(16, 50_000);
  new DataView(bomb.buffer).setUint32(20, 50_000);
  const spoilt = whole.slice();
  spoilt[whole.length >> 1] ^= 255;
  const float = (value) => new Uint8Array(ramp(Float32Array, 80 * 64).fill(value, 70, 71).buffer);
  const floats = (bytes) => tiff({ ...side, bits: 32, format: 3, bytes });
  const cases = [
    [file(new Uint8Array(0), "a.png"), /^a\.png is neither a PNG nor a TIFF image\.$/],
    [file("shape,size\ncube,40\n", "a.tif"), /^a\.tif is neither a PNG nor a TIFF image\.$/],
    [png(ramp(Uint8Array, 3 * 80 * 64), 3), /^a\.png is in colour, but must be grey\.$/],
    [png(new Uint8Array(80 * 64).fill(9), 1), /^a\.png is the same everywhere\.$/],
    [png(ramp(Uint8Array, 25), 1, { width: 5, height: 5 }), /^a\.png has 5 x 5 pixels, but must have 64 x 64 or /],
    [file(bomb, "a.png"), /^a\.png has 50000 x 50000 pixels, but may have 64 million\.$/],
    [file(spoilt, "a.png"), /^a\.png is damaged, or of a kind /],
    [floats(float(NaN)), /^particle\.tif has pixels that are not numbers\.$/],
    [floats(float(Infinity)), /^particle\.tif has pixels that are not numbers\.$/],
    [floats(float(1).subarray(0, 900)), /^particle\.tif is damaged, or of a kind /],
    [tiff({ ...side, bits: 32, format: 1, bytes: float(1) }), /^particle\.tif is damaged, or of a kind /],
    [tiff({ ...side, bits: 8, format: 1, bytes: values, photometric: 3 }), /^particle\.tif is in colour/],
    [grey16(resolution([250_000_000, 1], 3, [200_000_000, 1])), /^particle\.tif has pixels that are not square\.$/],
    [{ name: "a.tif", size: 1e9 }, /^a\.tif is larger than 512 MB\.$/],
  ];
  for (const [bad, message] of cases) await assert.rejects(readImage(bad), { message }, String(message));
  for (let length = 8; length < whole.length; length += 97) {
    await assert.rejects(readImage(file(whole.slice(0, length), "a.png")), { message: /^a\.png is damaged/ });
  }
});
