// @ts-check
// A still picture of the particle, until its three-dimensional view is wanted, or where there is none.

import { dot } from "../optics/orientation.js";
import { context2d } from "./grey-image.js";

const LIGHT = [-0.38, 0.53, 0.76];
const RIM = 0.25;

/**
 * Draw atoms as balls, seen along the beam, the farthest first.
 * @param {HTMLCanvasElement} canvas square.
 * @param {number[]} atoms coordinates [Å], three an atom.
 * @param {Matrix} matrix how the particle is turned.
 * @param {number} radius of the atoms [Å].
 * @param {string} colour of the atoms, "#rrggbb".
 */
export function drawStill(canvas, atoms, matrix, radius, colour) {
  const context = context2d(canvas);
  const turned = [];
  let farthest = 0;
  for (let i = 0; i < atoms.length; i += 3) {
    const atom = atoms.slice(i, i + 3);
    const [x, y, z] = [0, 3, 6].map((row) => dot(matrix.slice(row, row + 3), atom));
    const distance = Math.hypot(x, y, z);
    farthest = Math.max(farthest, distance);
    turned.push({ x, y, z, light: Math.max(0, (x * LIGHT[0] + y * LIGHT[1] + z * LIGHT[2]) / distance) });
  }
  turned.sort((a, b) => a.z - b.z);
  const scale = canvas.width / (2.1 * (farthest + radius));
  const rgb = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  /** @type {(share: number) => string} */
  const shade = (share) => `rgb(${rgb.map((value) => Math.round(share * value)).join()})`;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.lineWidth = RIM * radius * scale;
  for (const { x, y, light } of turned) {
    context.beginPath();
    const [right, down] = [canvas.width / 2 + scale * x, canvas.height / 2 - scale * y];
    context.arc(right, down, (1 - RIM / 2) * radius * scale, 0, 2 * Math.PI);
    context.fillStyle = shade(0.5 + 0.5 * light);
    context.strokeStyle = shade(0.3 + 0.4 * light);
    context.fill();
    context.stroke();
  }
}
