import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { decode } from "../../book/play/io/assets.js";

const text = gzipSync(Buffer.from("lattice")).toString("base64");

test("an asset gives back its bytes", async () => {
  assert.equal(new TextDecoder().decode(await decode("waves", text)), "lattice");
});

test("a damaged asset is named in one sentence", async () => {
  for (const spoilt of [text.slice(0, -8), `AAAA${text}`, "?"]) {
    await assert.rejects(decode("waves", spoilt), { message: "The file waves.js beside this page is damaged." });
  }
});
