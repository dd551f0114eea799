"""Pictures inside HTML: a figure or an array of pixels with the words for those who do not see it."""

import base64
import io
import math
from html import escape

import numpy as np
from matplotlib.figure import Figure
from PIL import Image


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
