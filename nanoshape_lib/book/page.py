"""What the page without a kernel loads: waves, particles, optics, the network, results, and one figure.

A page opened from the disk may load scripts, but no other files: all data are scripts that hand compressed bytes to
the page under a name; see ``book/play/io/assets.js``.
"""

import base64
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from nanoshape_lib.book.javascript import MODULES, PLAY, bundle
from nanoshape_lib.book.onnx_network import export_network
from nanoshape_lib.book.stored_waves import StoredWave, stored_waves, unpack
from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.results import image_gallery
from nanoshape_lib.figures.structures import facet_depths
from nanoshape_lib.figures.style import SHAPE_COLORS, signed
from nanoshape_lib.networks.models import ARCHITECTURES, load_weights
from nanoshape_lib.particles import shapes
from nanoshape_lib.particles.orientation import sector_corners
from nanoshape_lib.particles.shapes import GOLD_LATTICE_CONSTANT_A, GOLD_NEIGHBOUR_DISTANCE_A, Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import DATA
from nanoshape_lib.simulation.exit_waves import wave_pixels
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope, focal_spread_modes, intensity_pixels
from nanoshape_lib.studies.results import load_results
from nanoshape_lib.widgets.knobs import KNOBS, seen

WEIGHTS = DATA / "weights" / "cnn6.safetensors"
FFT = MODULES / "@echogarden" / "pffft-wasm" / "dist" / "simd" / "pffft.wasm"
RUNTIME = MODULES / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
FULL_WAVES: dict[str, Any] = {"divisions": 3, "sizes_A": (45.0, 65.0), "fidelity": "standard"}
COARSE_WAVES: dict[str, Any] = {"divisions": 1, "sizes_A": (55.0,), "fidelity": "fast"}
# Atoms nearer to a facet than this share of the distance of neighbours are its outermost layer.
SURFACE = 0.5
FIGURE_DEFOCI_A = (-280.0, -200.0, -120.0, -40.0, 40.0, 120.0, 200.0, 280.0)


def build_page(profile: str) -> None:
    """Write the scripts of ``book/play.md`` into ``book/_vendor/play``; the profile smoke has few, coarse waves."""
    PLAY.mkdir(parents=True, exist_ok=True)
    for stale in PLAY.iterdir():
        stale.unlink()
    bundle(PLAY)
    write_page(PLAY, COARSE_WAVES if profile == "smoke" else FULL_WAVES)


def write_page(folder: Path, waves: dict[str, Any]) -> None:
    """Write all assets of the page and its figure into a folder; `waves` are the arguments of `stored_waves`."""
    write_asset(folder, "fft-wasm", FFT.read_bytes())
    write_network(folder)
    write_results(folder)
    stored = list(stored_waves(**waves))
    write_waves(folder, stored)
    draw_figure(next(wave for wave in stored if wave.shape is Shape.TRUNCATED_OCTAHEDRON), folder / "focal-series.png")


def write_asset(folder: Path, name: str, data: bytes) -> None:
    """Write bytes as a script."""
    text = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    (folder / f"{name}.js").write_text(f'nanoshapeAsset("{name}","{text}");\n', encoding="ascii")


def write_json(folder: Path, name: str, value: Any) -> None:
    """Write a JSON value as a script."""
    write_asset(folder, name, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


# ------------------------------------------------------------------ the explorer


def write_waves(folder: Path, waves: list[StoredWave]) -> None:
    """Write each wave, the catalogue ``waves``, and ``particles``: the surface atoms of each ``shape-size``."""
    for wave in waves:
        write_asset(folder, wave.name, wave.data)
    write_json(folder, "waves", catalogue(waves))
    kinds = {(wave.shape, wave.size_A) for wave in waves}
    # Three coordinates an atom, in hundredths of an Å.
    atoms = {
        f"{int(shape)}-{size_A:g}": np.rint(100 * surface(shape, size_A)).astype(int).ravel().tolist()
        for shape, size_A in sorted(kinds)
    }
    write_json(folder, "particles", atoms)


def surface(shape: Shape, size_A: float) -> np.ndarray:
    """Positions (N, 3) [Å] of the outermost atoms of a particle."""
    atoms = shapes.build(shape, size_A)
    _, depth = facet_depths(atoms)
    return atoms.positions[depth.min(axis=1) < SURFACE * GOLD_NEIGHBOUR_DISTANCE_A]


def page_knobs() -> list[dict[str, Any]]:
    """Knobs of the page: those of the widgets that need neither a new wave nor another number of pixels."""
    return [knob._asdict() for knob in KNOBS.values() if knob.group != "particle" and knob.name != "pixel_size_A"]


def catalogue(waves: Iterable[StoredWave]) -> dict[str, Any]:
    """What the page must know before it shows anything: ``Catalogue`` of ``book/play/types.d.ts``."""
    microscope, camera = Microscope(), Camera()
    knob = KNOBS["focal_spread_A"]
    modes = {
        f"{spread:g}": focal_spread_modes(microscope.model_copy(update={"focal_spread_A": spread})).round(6).tolist()
        for spread in np.arange(knob.minimum, knob.maximum + knob.step, knob.step)
    }
    return {
        "optics": {
            "field_A": FIELD_A,
            "wavelength_A": microscope.wavelength_A,
            "aperture_per_A": microscope.aperture_per_A,
            "wave_pixels": wave_pixels(microscope),
            "intensity_pixels": intensity_pixels(microscope, camera),
            "camera_pixels": camera.pixels,
            "modes": modes,
        },
        "mtf": {"c1": camera.mtf_c1, "c3": camera.mtf_c3},
        "knobs": page_knobs(),
        "gold": {"neighbours_A": GOLD_NEIGHBOUR_DISTANCE_A, "planes_111_A": GOLD_LATTICE_CONSTANT_A / np.sqrt(3)},
        "shapes": [
            shape | {"corners": {name: axis.tolist() for name, axis in sector_corners(shape["label"]).items()}}
            for shape in _shapes()
        ],
        "waves": [
            {
                "name": wave.name,
                "shape": int(wave.shape),
                "size_A": wave.size_A,
                "atoms": wave.atoms,
                "direction": wave.direction.tolist(),
                "rotation": wave.rotation.ravel().tolist(),
            }
            for wave in waves
        ],
    }


def _shapes() -> list[dict[str, Any]]:
    return [{"name": shape.title, "label": int(shape), "colour": SHAPE_COLORS[shape]} for shape in Shape]


def draw_figure(wave: StoredWave, path: Path) -> None:
    """Draw a focal series of a wave with the network's probabilities: what a reader without JavaScript sees."""
    microscope = Microscope()
    model, card = load_weights(WEIGHTS)
    exit_wave = unpack(wave.data, microscope, wave_pixels(microscope))
    images = focal_series(exit_wave, np.array(FIGURE_DEFOCI_A), microscope, Camera())
    with torch.inference_mode():
        logits = model(standardise(torch.as_tensor(images))[:, None]).numpy()
    outputs = softmax(logits / card["temperature"], axis=1)
    words = [f"{signed(defocus)} Å" for defocus in FIGURE_DEFOCI_A]
    figure = image_gallery(images, outputs, [wave.shape] * len(words), words, "", columns=4)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=160)
    # A palette makes the file a third smaller, and grey levels that an eye cannot tell apart.
    Image.open(buffer).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)


# ------------------------------------------------------------------ the classifier


def write_network(folder: Path, weights: Path = WEIGHTS) -> None:
    """Write the network as ONNX, its card (``NetworkCard`` of ``book/play/types.d.ts``), and ONNX Runtime.

    Raises
    ------
    NanoshapeError
        If the weights are not those of a plain CNN, or their card has no temperature, accuracy or profile.
    """
    model, card = load_weights(weights)
    missing = [name for name in ("temperature", "test_accuracy", "profile") if name not in card]
    if missing:
        raise NanoshapeError(
            f"the card of {weights} has no {' and no '.join(missing)}; give weights that a study wrote"
        )
    write_asset(folder, "network", export_network(model).SerializeToString())
    shown = {
        "architecture": card["architecture"],
        "temperature": card["temperature"],
        "classes": [shape.title for shape in Shape],
        "accuracy": card["test_accuracy"],
        "profile": {name: card["profile"][name] for name in ("name", "summary")},
        "seen": seen(DatasetDesign.model_validate(card["profile"]["dataset"])),
    }
    write_json(folder, "network-card", shown)
    write_asset(folder, "runtime-wasm", RUNTIME.read_bytes())


# ------------------------------------------------------------------ the live twins of figures S1, S2 and S4


def write_results(folder: Path) -> None:
    """Write ``twin-s1``, ``twin-s2``, ``twin-s4`` from the shipped tables, and the images ``twin-s4-images``.

    Images are bytes: 0 to 255 are four standard deviations below to above the mean.
    """
    trained, _ = load_results("architectures")
    columns = ["architecture", "train_images", "seed", "test_accuracy", "test_low", "test_high"]
    order = [name for name in ARCHITECTURES if name in set(trained["architecture"])]
    write_json(folder, "twin-s1", {"architectures": order, "trainings": trained[columns].to_dict("records")})

    confused, _ = load_results("sampling_confusions")
    trainings = ["train_waves", "seed"]
    counts = confused.pivot_table("images", [*trainings, "expected"], "predicted", fill_value=0, aggfunc="sum")
    shares = counts.reindex(columns=range(len(Shape)), fill_value=0).div(counts.sum(axis=1), axis=0).round(5)
    matrices = [
        {"waves": waves, "seed": seed, "shares": shares.loc[waves, seed].to_numpy().tolist()}
        for waves, seed in confused[trainings].drop_duplicates().itertuples(index=False)
    ]
    images = int(confused["train_images"].iloc[0])
    write_json(folder, "twin-s2", {"shapes": _shapes(), "images": images, "matrices": matrices})

    examples = load_examples("best_cnn6_examples")
    failed = examples.take(np.flatnonzero(examples.table["kind"] == "failed"))
    names = ["label", "predicted", "second", "size_A", "defocus_A", "group", *(f"p{i}" for i in range(len(Shape)))]
    write_json(folder, "twin-s4", {"shapes": _shapes(), "rows": failed.table[names].to_dict("records")})
    levels = np.rint((failed.images.float().numpy() / 4 + 1) * 255 / 2)
    write_asset(folder, "twin-s4-images", np.clip(levels, 0, 255).astype(np.uint8).tobytes())
