// @ts-check
// The particle in three dimensions, seen along the beam.

import {
  AmbientLight, DirectionalLight, IcosahedronGeometry, InstancedMesh, Matrix4, MeshLambertMaterial, OrthographicCamera,
  Quaternion, Scene, WebGLRenderer,
} from "three";
import { ARROWS } from "./controls.js";

const TURN_MS = 350;
const KEY_DEGREES = 5;
const DRAG_DEGREES_PER_PIXEL = 0.6;

/**
 * Show a particle on a canvas and let the reader turn it by dragging or by the arrow keys.
 * @param {HTMLCanvasElement} canvas
 * @param {(matrix: Matrix, done: boolean) => void} turned told how the reader turns it; `done` after a key or at the
 *   end of a drag.
 * @returns `show` shows a particle of some name, unless it is shown already, by coordinates [Å], three an atom, and the
 *   atoms' radius [Å]; `turn` turns the particle, without telling.
 * @throws {Error} one sentence if there is no WebGL.
 */
export function showParticle(canvas, turned) {
  const renderer = startRenderer(canvas);
  const scene = new Scene();
  const camera = new OrthographicCamera(-1, 1, 1, -1, -200, 200);
  const light = new DirectionalLight(0xffffff, 2.6);
  light.position.set(-0.5, 0.7, 1);
  scene.add(light, new AmbientLight(0xffffff, 0.9));
  /** @type {InstancedMesh<IcosahedronGeometry, MeshLambertMaterial> | undefined} */
  let mesh;
  let shown = "";
  let [now, target, frame, start] = [new Quaternion(), new Quaternion(), 0, 0];
  const from = new Quaternion();

  const render = () => {
    if (!mesh) return;
    const side = Math.round(canvas.clientWidth * Math.min(devicePixelRatio, 2));
    if (side && side !== canvas.width) renderer.setSize(side, side, false);
    mesh.quaternion.copy(now);
    renderer.render(scene, camera);
  };
  /** @type {FrameRequestCallback} */
  const step = (time) => {
    const share = Math.min(1, (time - start) / TURN_MS);
    now.slerpQuaternions(from, target, share * share * (3 - 2 * share));
    render();
    frame = share < 1 ? requestAnimationFrame(step) : 0;
  };
  /** @type {TurnBy} */
  const turnBy = (right, up, done) => {
    cancelAnimationFrame(frame);
    const angle = (Math.hypot(right, up) * Math.PI) / 180;
    if (angle) {
      const axis = { x: -up / Math.hypot(right, up), y: right / Math.hypot(right, up), z: 0 };
      now.premultiply(new Quaternion().setFromAxisAngle(axis, angle)).normalize();
      render();
    }
    const e = new Matrix4().makeRotationFromQuaternion(now).elements;
    turned([e[0], e[4], e[8], e[1], e[5], e[9], e[2], e[6], e[10]], done);
  };
  listen(canvas, turnBy);
  new ResizeObserver(render).observe(canvas);

  return {
    /** @type {(name: string, atoms: number[], radius: number, colour: string) => void} */
    show(name, atoms, radius, colour) {
      if (name === shown) return;
      shown = name;
      if (mesh) {
        scene.remove(mesh);
        mesh.geometry.dispose();
        mesh.material.dispose();
        mesh.dispose();
      }
      const material = new MeshLambertMaterial({ color: colour });
      mesh = new InstancedMesh(new IcosahedronGeometry(radius, 2), material, atoms.length / 3);
      const place = new Matrix4();
      let farthest = 0;
      for (let i = 0; i < atoms.length; i += 3) {
        mesh.setMatrixAt(i / 3, place.makeTranslation(atoms[i], atoms[i + 1], atoms[i + 2]));
        farthest = Math.max(farthest, Math.hypot(atoms[i], atoms[i + 1], atoms[i + 2]));
      }
      const half = 1.05 * (farthest + radius);
      Object.assign(camera, { left: -half, right: half, top: half, bottom: -half });
      camera.updateProjectionMatrix();
      scene.add(mesh);
      render();
    },
    /** @type {(m: Matrix) => void} */
    turn(m) {
      cancelAnimationFrame(frame);
      const matrix = new Matrix4().set(m[0], m[1], m[2], 0, m[3], m[4], m[5], 0, m[6], m[7], m[8], 0, 0, 0, 0, 1);
      target = new Quaternion().setFromRotationMatrix(matrix);
      if (!mesh || matchMedia("(prefers-reduced-motion: reduce)").matches) {
        now = target.clone();
        render();
      } else {
        from.copy(now);
        start = performance.now();
        frame = requestAnimationFrame(step);
      }
    },
  };
}

/** @param {HTMLCanvasElement} canvas */
function startRenderer(canvas) {
  try {
    const context = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!context) throw new Error("none");
    return new WebGLRenderer({ canvas, context });
  } catch {
    throw new Error("The particle needs WebGL 2, which this browser does not have or does not allow.");
  }
}

/**
 * @callback TurnBy
 * @param {number} right [degrees].
 * @param {number} up [degrees].
 * @param {boolean} done
 */

/**
 * Dragging by mouse, pen or finger, and the arrow keys.
 * @param {HTMLCanvasElement} canvas
 * @param {TurnBy} turnBy
 */
function listen(canvas, turnBy) {
  /** @type {[number, number] | undefined} */
  let last;
  canvas.addEventListener("pointerdown", (event) => {
    last = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const [right, up] = [event.clientX - last[0], last[1] - event.clientY];
    last = [event.clientX, event.clientY];
    turnBy(right * DRAG_DEGREES_PER_PIXEL, up * DRAG_DEGREES_PER_PIXEL, false);
  });
  const end = () => {
    if (last) turnBy(0, 0, true);
    last = undefined;
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    turnBy(arrow[0] * KEY_DEGREES, arrow[1] * KEY_DEGREES, true);
  });
}
