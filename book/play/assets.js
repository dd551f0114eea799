// Data and code that lie beside the page as small scripts: a page opened from the disk may not fetch files, but may
// load scripts. A script of data calls nanoshapeAsset(name, text) with the data compressed by gzip and written in base64; a
// script of code calls nanoshapeCode(name, code).

// Shared by all scripts of a page: an asset knows one place to go to.
const waiting = (globalThis.nanoshapeWaiting ??= new Map());
/** Address of the folder of the scripts and assets. */
export const base = globalThis.document?.currentScript ? new URL(".", document.currentScript.src).href : "./";

globalThis.nanoshapeAsset = (name, text) => waiting.get(name)?.resolve(text);
globalThis.nanoshapeCode = globalThis.nanoshapeAsset;

/** Bytes of an asset, loaded once. Rejects with one sentence if it is missing or damaged; the next call tries again. */
export function loadAsset(name) {
  return once(name, (text) => decode(name, text));
}

/** A JSON asset. */
export async function loadJson(name) {
  return JSON.parse(new TextDecoder().decode(await loadAsset(name)));
}

/** What a script of code hands over, loaded once. Rejects as `loadAsset` does. */
export function loadCode(name) {
  return once(name, (code) => code);
}

function once(name, finish) {
  if (!waiting.has(name)) {
    const entry = {};
    entry.result = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject })).then(finish);
    waiting.set(name, entry);
    const script = document.createElement("script");
    script.src = `${base}${name}.js`;
    script.onload = () => entry.reject(new Error(`The file ${name}.js beside this page is damaged.`));
    script.onerror = () => entry.reject(new Error(`The file ${name}.js is missing beside this page.`));
    document.head.append(script);
    entry.result.catch(() => waiting.delete(name)).finally(() => script.remove());
  }
  return waiting.get(name).result;
}

/** Bytes behind base64 text of gzip data; gzip's own checksum finds damage. */
export async function decode(name, text) {
  try {
    const letters = atob(text);
    const packed = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) packed[i] = letters.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Error(`The file ${name}.js beside this page is damaged.`);
  }
}
