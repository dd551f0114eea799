"""Make the micrographs of data/examples: TIFF files that name their pixel size, and beside each a table of the truth.

python data/make_examples.py data/examples
"""

import json
import sys
from pathlib import Path

import numpy as np
import tifffile

from nanoshape_lib.simulation.field import field_wave, form_micrograph
from nanoshape_lib.studies.micrographs import DOSE_E_A2, draw_design

# The seed of `draw_design` and, of a focal series, the defoci [Å].
EXAMPLES = {"particles": (1016, ()), "series": (1001, (-120.0, 60.0, 140.0))}


def write_examples(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (seed, defoci_A) in EXAMPLES.items():
        design = draw_design(seed)
        wave, truth = field_wave(design)
        defoci_A = defoci_A or (design.defocus_A,)
        images = [
            form_micrograph(wave, defocus_A, design.microscope, design.camera, seed + number, design.slope)
            for number, defocus_A in enumerate(defoci_A)
        ]
        counts = DOSE_E_A2 * design.camera.pixel_size_A**2
        stored = np.clip(np.rint(np.stack(images) * counts), 0, 2**16 - 1).astype(np.uint16)
        tifffile.imwrite(
            folder / f"{name}.tif",
            stored if len(stored) > 1 else stored[0],
            imagej=True,
            resolution=(10 / design.camera.pixel_size_A,) * 2,
            metadata={"unit": "nm", "axes": "TYX" if len(stored) > 1 else "YX"},
        )
        settings = design.model_dump(mode="json", include={"seed", "fidelity", "block", "microscope", "camera"})
        settings["defoci_A"] = defoci_A
        (folder / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        truth.to_csv(folder / f"{name}.csv", index=False)


if __name__ == "__main__":
    write_examples(Path(sys.argv[1]))
