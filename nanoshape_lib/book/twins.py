"""Live twins of figures S1, S2 and S4: what the shipped results say about the point or image that a reader chooses."""

from html import escape
from pathlib import Path

import numpy as np

from nanoshape_lib.book.assets import write_asset, write_json
from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.figures.style import SHAPE_COLORS
from nanoshape_lib.networks.models import ARCHITECTURES
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies.results import load_results

TITLES = {
    "s1": "Accuracy against the number of training images: choose a point for its trainings",
    "s2": "Confusion matrices of figure S2: choose a field for its trainings, and for examples of the mistake",
    "s4": "Failures of figure S4: choose an image to see it large, with all five probabilities",
}
LEVELS = 255
DEVIATIONS = 4.0


def twin(name: str) -> str:
    """HTML of a twin on a page of the book; without scripts, one sentence.

    Parameters
    ----------
    name
        ``"s1"``, ``"s2"`` or ``"s4"``.
    """
    return (
        f'<section class="play twin" data-twin="{name}" aria-label="{escape(TITLES[name])}">'
        f"<p>{escape(TITLES[name])}. This part needs JavaScript and the book around it; the figure above does not.</p>"
        '</section><script defer src="../_static/play/twins.js"></script>'
    )


def twins_assets(folder: Path) -> None:
    """Write the assets of the twins: ``twin-s1``, ``twin-s2``, ``twin-s4`` (JSON) and ``twin-s4-images``.

    Images are bytes: 0 to 255 are four standard deviations below to above the mean.

    Parameters
    ----------
    folder
        Where the pages look for their assets.
    """
    trained, _ = load_results("architectures")
    columns = ["architecture", "train_images", "seed", "test_accuracy", "test_low", "test_high"]
    order = [name for name in ARCHITECTURES if name in set(trained["architecture"])]
    write_json(folder, "twin-s1", {"architectures": order, "trainings": trained[columns].to_dict("records")})

    confused, _ = load_results("sampling_confusions")
    counts = confused.pivot_table(
        "images", ["train_waves", "seed", "expected"], "predicted", fill_value=0, aggfunc="sum"
    )
    shares = counts.reindex(columns=range(len(Shape)), fill_value=0).div(counts.sum(axis=1), axis=0)
    trained_as = confused[["train_waves", "seed"]].drop_duplicates().itertuples(index=False)
    matrices = [
        {"waves": waves, "seed": seed, "shares": shares.loc[waves, seed].to_numpy().round(5).tolist()}
        for waves, seed in trained_as
    ]
    images = int(confused["train_images"].iloc[0])
    shapes = [{"name": shape.title, "colour": SHAPE_COLORS[shape]} for shape in Shape]
    write_json(folder, "twin-s2", {"shapes": shapes, "images": images, "matrices": matrices})

    examples = load_examples("best_cnn6_examples")
    failed = examples.take(np.flatnonzero(examples.table["kind"] == "failed"))
    names = ["label", "predicted", "second", "size_A", "defocus_A", "group", *(f"p{i}" for i in range(len(Shape)))]
    write_json(folder, "twin-s4", {"shapes": shapes, "rows": failed.table[names].to_dict("records")})
    levels = (failed.images.float().numpy() / DEVIATIONS + 1) * LEVELS / 2
    write_asset(folder, "twin-s4-images", np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8).tobytes())
