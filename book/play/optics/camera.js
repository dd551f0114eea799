// @ts-check
// The camera: integration over a pixel, transfer of scintillator and read-out, and counting noise.

/**
 * Transfer of the integration over a pixel: sin(πx) / (πx), x the frequency times the pixel's width.
 * @param {number} x
 */
export function sinc(x) {
  return x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1;
}

/**
 * Modulation transfer of scintillator and read-out.
 * @param {number} frequency [1/Å].
 * @param {Mtf} parameters
 * @param {number} pixel [Å].
 */
export function mtf(frequency, { c1, c2, c3 }, pixel) {
  return (1 - c1) / (1 + ((frequency * 2 * pixel) / (2 * c2)) ** c3) + c1;
}

/**
 * Uniform numbers between 0 and 1 from a seed (mulberry32).
 * @param {number} seed
 */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * A Poisson number of a given mean: by products for small means, else by transformed rejection (Hörmann 1993, PTRS).
 * @param {number} mean
 * @param {() => number} random uniform between 0 and 1.
 */
export function poisson(mean, random) {
  if (mean < 10) {
    const limit = Math.exp(-mean);
    let count = 0;
    for (let product = random(); product > limit; product *= random()) count++;
    return count;
  }
  const b = 0.931 + 2.53 * Math.sqrt(mean);
  const a = -0.059 + 0.02483 * b;
  const inverse = 1.1239 + 1.1328 / (b - 3.4);
  const accepted = 0.9277 - 3.6224 / (b - 2);
  for (;;) {
    const u = random() - 0.5;
    const v = random();
    const us = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= accepted) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (Math.log((v * inverse) / (a / (us * us) + b)) <= k * Math.log(mean) - mean - logFactorial(k)) return k;
  }
}

/**
 * Stirling's series; exact to 1e-9 beyond k = 9, and a sum below.
 * @param {number} k
 */
function logFactorial(k) {
  if (k < 10) {
    let sum = 0;
    for (let i = 2; i <= k; i++) sum += Math.log(i);
    return sum;
  }
  const n = k + 1;
  return (n - 0.5) * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * n) - 1 / (360 * n ** 3) + 1 / (1260 * n ** 5);
}
