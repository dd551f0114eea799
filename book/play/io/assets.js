// @ts-check
// Data and code that lie beside the page as small scripts: a page opened from the disk may not fetch files, but may
// load scripts. A script of data calls nanoshapeAsset(name, text) with the data compressed by gzip and written in base64;
// a script of code calls nanoshapeCode(name, code).

// Shared by all scripts of a page: an asset knows one place to go to.
const waiting = (globalThis.nanoshapeWaiting ??= new Map());
const own = /** @type {HTMLScriptElement | null | undefined} */ (globalThis.document?.currentScript);
const folder = own ? new URL(".", own.src).href : "./";

/** @type {(name: string, handed: unknown) => void} */
const receive = (name, handed) => waiting.get(name)?.resolve(handed);
globalThis.nanoshapeAsset = receive;
globalThis.nanoshapeCode = receive;

/**
 * Bytes of an asset, loaded once. Rejects with one sentence if it is missing or damaged; the next call tries again.
 * @param {string} name
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export function loadAsset(name) {
  return once(name, (text) => decode(name, text));
}

/**
 * A JSON asset.
 * @template {keyof JsonAssets} Name
 * @param {Name} name
 * @returns {Promise<JsonAssets[Name]>}
 */
export async function loadJson(name) {
  return JSON.parse(new TextDecoder().decode(await loadAsset(name)));
}

/**
 * What a script of code hands over, loaded once. Rejects as `loadAsset` does.
 * @template {keyof CodeAssets} Name
 * @param {Name} name
 * @returns {Promise<CodeAssets[Name]>}
 */
export function loadCode(name) {
  return once(name, (code) => code);
}

/**
 * @template Handed, Result
 * @param {string} name
 * @param {(handed: Handed) => Result | Promise<Result>} finish
 * @returns {Promise<Result>}
 */
function once(name, finish) {
  const known = waiting.get(name);
  if (known) return known.result;
  const script = document.createElement("script");
  script.src = `${folder}${name}.js`;
  const entry = { resolve: /** @type {(handed: any) => void} */ (() => {}) };
  const handed = new Promise((resolve, reject) => {
    entry.resolve = resolve;
    script.onload = () => reject(new Error(`The file ${name}.js beside this page is damaged.`));
    script.onerror = () => reject(new Error(`The file ${name}.js is missing beside this page.`));
  });
  const result = handed.then(finish);
  waiting.set(name, Object.assign(entry, { result }));
  result.catch(() => waiting.delete(name)).finally(() => script.remove());
  document.head.append(script);
  return result;
}

/**
 * Bytes behind base64 text of gzip data; gzip's own checksum finds damage.
 * @param {string} name
 * @param {string} text
 */
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
