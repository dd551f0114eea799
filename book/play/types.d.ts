// What modules share without importing it: the data that nanoshape_lib/book/page.py writes, and globals of the page.

type Vector = number[];
/** Nine numbers, row by row. */
type Matrix = number[];

/** A number to turn, as in nanoshape_lib/widgets/knobs.py; the step of a logarithmic knob is in powers of ten. */
interface Knob {
  name: keyof Settings;
  label: string;
  unit: string;
  minimum: number;
  maximum: number;
  step: number;
  default: number;
  logarithmic?: boolean;
  note?: string;
}

/** Values of the knobs. */
interface Settings {
  defocus_A: number;
  Cs_um: number;
  focal_spread_A: number;
  convergence_mrad: number;
  dose_e_A2: number;
  mtf_half_width: number;
}

/** Parameters of the camera's transfer function. */
interface Mtf {
  c1: number;
  c2: number;
  c3: number;
}

/** What a wave passes through; positive defocus is underfocus. */
interface Aberrations {
  defocus_A: number;
  Cs_A: number;
  convergence_mrad: number;
}

interface Instrument extends Aberrations {
  focal_spread_A: number;
  mtf: Mtf;
}

interface Optics {
  field_A: number;
  wavelength_A: number;
  aperture_per_A: number;
  wave_pixels: number;
  intensity_pixels: number;
  camera_pixels: number;
  /** Focal modes (m, 129) over the square of the frequency, by focal spread [Å]. */
  modes: Record<string, number[][]>;
}

interface NamedShape {
  name: string;
  label: number;
  colour: string;
}

interface SectorShape extends NamedShape {
  /** Unit vectors at the corners of the fundamental sector. */
  corners: Record<string, Vector>;
}

interface Wave {
  name: string;
  shape: number;
  size_A: number;
  atoms: number;
  direction: Vector;
  rotation: Matrix;
}

interface Catalogue {
  optics: Optics;
  mtf: { c1: number; c3: number };
  knobs: Knob[];
  /** Distance of neighbours and of the {111} planes. */
  gold: { neighbours_A: number; planes_111_A: number };
  shapes: SectorShape[];
  waves: Wave[];
}

interface NetworkCard {
  architecture: string;
  /** Divides the logits before the softmax. */
  temperature: number;
  /** Names of the shapes in the order of the logits. */
  classes: string[];
  /** On the test images. */
  accuracy: number;
  profile: { name: string; summary: string };
  /** Least and greatest value of every knob in the training images. */
  seen: Record<keyof Settings, [number, number]>;
}

interface Training {
  architecture: string;
  train_images: number;
  seed: number;
  test_accuracy: number;
  test_low: number;
  test_high: number;
}

interface Failure {
  label: number;
  predicted: number;
  second: number;
  size_A: number;
  defocus_A: number;
  group: number;
  /** Probabilities p0 to p4. */
  [probability: `p${number}`]: number;
}

interface JsonAssets {
  waves: Catalogue;
  /** Surface atoms of each `shape-size`: three coordinates an atom [0.01 Å]. */
  particles: Record<string, number[]>;
  "network-card": NetworkCard;
  "twin-s1": { architectures: string[]; trainings: Training[] };
  "twin-s2": { shapes: NamedShape[]; images: number; matrices: { waves: number; seed: number; shares: number[][] }[] };
  "twin-s4": { shapes: NamedShape[]; rows: Failure[] };
}

/** What the scripts of `entries` hand over, by their names. */
interface CodeAssets {
  "network-runtime": typeof import("./io/onnx-runtime.js").startNetwork;
  "particle-3d": typeof import("./view/particle-3d.js").showParticle;
  "image-files": typeof import("./io/image-files.js").readImage;
}

declare var nanoshapeAsset: (name: string, text: string) => void;
declare var nanoshapeCode: <Name extends keyof CodeAssets>(name: Name, code: CodeAssets[Name]) => void;
declare var nanoshapeWaiting: Map<string, { result: Promise<any>; resolve: (handed: any) => void }> | undefined;
declare var nanoshapeTwins: boolean | undefined;

declare module "@echogarden/pffft-wasm/simd" {
  interface Pffft {
    HEAPF32: Float32Array;
    _pffft_new_setup(size: number, kind: number): number;
    _pffft_aligned_malloc(bytes: number): number;
    _pffft_transform_ordered(setup: number, from: number, to: number, work: number, direction: number): void;
  }
  export default function start(options: { wasmBinary: Uint8Array }): Promise<Pffft>;
}
