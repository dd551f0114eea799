"""What was found in a microscope's files, as a table and as a page that needs nothing beside it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.html import picture
from nanoshape_lib.figures.robustness import overview
from nanoshape_lib.micrographs.analysis import Analysis, Explanation, labels, predictions
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import replacing
from nanoshape_lib.trust.classifier import CLASSES

TABLE, PAGE = "predictions.csv", "index.html"
FIGURE_PIXELS, PICTURE_PIXELS = 820, 160
PAGE_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: auto; padding: 1rem; }
.refused { color: light-dark(#8a1c00, #ffb4a0); }
"""
STYLE = """
.nanoshape-report figure { margin: 0; }
.nanoshape-report img { max-width: 100%; height: auto; }
.nanoshape-report .wide { overflow-x: auto; }
.nanoshape-report table { border-collapse: collapse; }
.nanoshape-report :is(th, td) { text-align: left; vertical-align: top; padding: .4rem .6rem;
  border-bottom: 1px solid #8886; }
.nanoshape-report td img { min-width: 8rem; }
.nanoshape-report .note { margin: .2rem 0; }
"""


def write_report(
    folder: str | Path, analyses: Sequence[Analysis], refused: Sequence[NanoshapeError], about: str
) -> Path:
    """Write ``predictions.csv`` and ``index.html`` into a folder.

    Parameters
    ----------
    folder
        Where to; it is made if need be, and files of these names are replaced.
    analyses, refused
        Of :func:`nanoshape_lib.micrographs.analysis.analyse_all`, all explained.
    about
        Which network, which coverage.

    Returns
    -------
    Path
        The page.
    """
    parts = [f"<p>{escape(about)}</p>"]
    if refused:
        words = ("".join(f"{each}. " for each in (error, *getattr(error, "__notes__", ()))) for error in refused)
        rows = "".join(f'<li class="refused">{escape(each)}</li>' for each in words)
        parts.append(f"<h2>Files that could not be used</h2><ul>{rows}</ul>")
    parts += [section(*each) for each in zip(analyses, labels(analyses), strict=True)]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Shapes of nanoparticles</title>'
        f"<style>{PAGE_STYLE}{STYLE}</style><body><main><h1>Shapes of nanoparticles</h1>{''.join(parts)}</main>"
        "</body></html>"
    )
    table = predictions(analyses).to_csv(index=False)
    for name, text in ((TABLE, table), (PAGE, page)):
        with replacing(Path(folder) / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return Path(folder) / PAGE


def section(analysis: Analysis, name: str = "") -> str:
    """HTML about one file that was explained: warnings, the whole image, a row for each particle."""
    micrograph, table, why = analysis.micrograph, analysis.table, analysis.explanation
    assert micrograph.pixel_size_A is not None and why is not None
    name = name or Path(micrograph.path).name
    words = f"{len(table)} particles, pixels of {micrograph.pixel_size_A:.4g} Å (from the {micrograph.source})"
    notes = "".join(f'<p class="note">Note: {escape(note)}.</p>' for note in micrograph.notes)
    figure = overview(micrograph.images[0], micrograph.pixel_size_A, analysis.boxes, table, words)
    shown = picture(figure, f"{name} with {words}", FIGURE_PIXELS)
    parts = [f"<h2>{escape(name)}</h2><p>{words}</p>{notes}<figure>{shown}</figure>"]
    if len(table):
        best = ["best match"] if why.matches else []
        seen = ["", "in the image", "saliency", "most similar simulation", "second most similar"]
        heads = [*seen, *best, "shape", "probabilities"]
        head = "".join(f'<th scope="col">{each}</th>' for each in heads)
        rows = [_row(row, analysis.crops[place, 0], why, place) for place, row in enumerate(table.to_dict("records"))]
        body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        parts.append(
            f'<div class="wide" tabindex="0" role="region" aria-label="Particles in {escape(name)}">{body}</div>'
        )
    return f'<div class="nanoshape-report">{"".join(parts)}</div>'


def _row(row: dict, image: np.ndarray, why: Explanation, place: int) -> str:
    """One particle."""
    grey, weights = _grey(image), why.saliency[place]
    heat = (255 * colormaps["magma"](weights)[..., :3]).astype(np.uint8)
    share = 0.55 * weights[..., None]
    laid = ((1 - share) * grey[..., None] + share * heat).astype(np.uint8)
    number, shape = row["particle"], escape(row["predicted"])
    pictures = [(grey, f"particle {number}", ""), (laid, f"where particle {number} speaks for a {shape}", "")]
    for each in why.similar[place]:
        below = f"similarity {each.similarity:.2f}, {each.size_A:.0f} Å, defocus {each.defocus_A:.0f} Å"
        pictures.append((_grey(each.image), f"simulated {shape} that is like particle {number} to the network", below))
    for match in why.matches[place : place + 1]:
        below = f"correlation {match.ncc:.2f}, {match.size_A:.0f} Å, defocus {match.defocus_A:.0f} Å"
        pictures.append((_grey(match.image), f"simulated {shape} that fits particle {number} best", below))
    cells = [picture(image, alt, PICTURE_PIXELS, below) for image, alt, below in pictures]
    if row["known"]:
        answer = f"<strong>{shape}</strong><br>set: {escape(row['set'])}"
    else:
        answer = f'<span class="refused">Not known.</span> {escape(row["reason"])} First choice: {shape}.'
    where = f"row {row['row']:.0f}, column {row['column']:.0f}, {row['diameter_A']:.0f} Å wide"
    cells.append(f"{answer}<br><small>{where}; OOD score {row['ood_score']:.1f}</small>")
    order = np.argsort([-row[name] for name in CLASSES])
    shares = "".join(f"<li>{Shape(int(i)).title} {100 * row[CLASSES[i]]:.1f} %</li>" for i in order)
    cells.append(f"<ul>{shares}</ul>")
    return f'<tr><th scope="row">{number}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _grey(image: np.ndarray) -> np.ndarray:
    """Grey levels of a standardised image."""
    return np.clip(127.5 + 51 * image, 0, 255).astype(np.uint8)


def summary(table: pd.DataFrame) -> str:
    """One line about the particles of a table of :func:`nanoshape_lib.micrographs.analysis.predictions`."""
    if table.empty:
        return "no particles"
    known = table[table["known"]]
    counts = ", ".join(f"{count} {shape}" for shape, count in known["predicted"].value_counts().items())
    return f"{len(table)} particles: {counts or 'none that is known'}; {len(table) - len(known)} refused"
