// Data that lie beside the page as small scripts: a page opened from the disk may not fetch files, but may load scripts.
// Each script calls nanoshapeAsset(name, text) with the data compressed by gzip and written in base64.

const waiting = new Map();
/** Address of the folder of the scripts and assets. */
export const base = globalThis.document?.currentScript ? new URL(".", document.currentScript.src).href : "./";

globalThis.nanoshapeAsset = (name, text) => waiting.get(name)?.resolve(text);

/** Bytes of an asset, loaded once. Rejects with one sentence if it is missing or damaged. */
export function loadAsset(name) {
  if (!waiting.has(name)) {
    const entry = {};
    entry.bytes = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject })).then((text) => decode(name, text));
    waiting.set(name, entry);
    const script = document.createElement("script");
    script.src = `${base}${name}.js`;
    script.onload = () => entry.reject(new Error(`The file ${name}.js beside this page is damaged.`));
    script.onerror = () => entry.reject(new Error(`The file ${name}.js is missing beside this page.`));
    document.head.append(script);
    entry.bytes.catch(() => waiting.delete(name)).finally(() => script.remove());
  }
  return waiting.get(name).bytes;
}

/** A JSON asset. */
export async function loadJson(name) {
  return JSON.parse(new TextDecoder().decode(await loadAsset(name)));
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
