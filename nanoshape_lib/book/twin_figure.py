"""The figure that stands below the explorer of the page without a kernel, for readers whose browser cannot show it."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from nanoshape_lib.book.onnx_network import WEIGHTS
from nanoshape_lib.book.stored_waves import StoredWave, unpack
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.simulation.exit_waves import wave_pixels
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Camera, Microscope
from nanoshape_lib.widgets.drawing import images_with_outputs, signed

DEFOCI_A = (-280.0, -200.0, -120.0, -40.0, 40.0, 120.0, 200.0, 280.0)
COLUMNS = 4
DPI = 160
COLOURS = 48


def draw_twin(wave: StoredWave, path: Path) -> None:
    """Draw the focal series of a stored wave with the shipped network's probabilities, as a PNG file.

    Parameters
    ----------
    wave
        One of the page's waves.
    path
        The file.
    """
    microscope = Microscope()
    model, card = load_weights(WEIGHTS)
    seen = unpack(wave.data, microscope, wave_pixels(microscope))
    images = focal_series(seen, np.array(DEFOCI_A), microscope, Camera())
    with torch.inference_mode():
        logits = model(standardise(torch.as_tensor(images))[:, None]).numpy()
    outputs = softmax(logits / card["temperature"], axis=1)
    titles = [f"{signed(defocus)} Å" for defocus in DEFOCI_A]
    figure = images_with_outputs(list(images), titles, list(outputs), [wave.shape] * len(titles), COLUMNS)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    # A palette makes the file a third smaller, and grey levels that an eye cannot tell apart.
    Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
