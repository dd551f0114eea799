"""HTML of pages and widgets: pictures with the words for those who do not see them, and live twins of figures."""

import base64
import io
import math
from html import escape

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

RESULT_TWINS = {
    "s1": "Accuracy against the number of training images: choose a point for its trainings",
    "s2": "Confusion matrices of figure S2: choose a field for its trainings, and for examples of the mistake",
    "s4": "Failures of figure S4: choose an image to see it large, with all five probabilities",
}


def picture(shown: Figure | np.ndarray, alt: str, width: int, below: str = "") -> str:
    """HTML of a figure or of bytes (rows, columns) or (rows, columns, 3), with its description and a line below.

    Every pixel of an array becomes a square of whole screen pixels, so that lattice fringes beat with nothing.
    """
    buffer = io.BytesIO()
    if isinstance(shown, Figure):
        shown.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    else:
        times = math.ceil(width / len(shown))
        Image.fromarray(shown.repeat(times, axis=0).repeat(times, axis=1)).save(buffer, format="png")
    data = base64.b64encode(buffer.getvalue()).decode()
    style = f"display: block; width: {width}px; max-width: 100%; height: auto; aspect-ratio: auto"
    image = f'<img decoding="sync" alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'
    return image + (f'<div style="max-width: {width}px">{below}</div>' if below else "")


def result_twin(name: str) -> str:
    """HTML of the live twin of figure ``"s1"``, ``"s2"`` or ``"s4"`` on a page of the book."""
    title = escape(RESULT_TWINS[name])
    return (
        f'<section class="play twin" data-twin="{name}" aria-label="{title}">'
        f"<p>{title}. This part needs JavaScript and the book around it; the figure above does not.</p>"
        '</section><script defer src="../_static/play/result-twins.js"></script>'
    )
