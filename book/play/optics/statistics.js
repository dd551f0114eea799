// @ts-check
// Mean, deviation and quantiles of numbers.

/** @param {ArrayLike<number>} values */
export function mean(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

/**
 * Standard deviation.
 * @param {ArrayLike<number>} values
 */
export function deviation(values) {
  const level = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - level) ** 2;
  return Math.sqrt(sum / values.length);
}

/**
 * Values below which lie the given shares of all.
 * @param {Float32Array} values
 * @param {number[]} shares
 */
export function quantiles(values, ...shares) {
  const sorted = Float32Array.from(values).sort();
  return shares.map((share) => sorted[Math.round(share * (sorted.length - 1))]);
}
