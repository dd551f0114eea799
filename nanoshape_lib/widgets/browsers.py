"""Widgets that look into a data set and into a confusion matrix."""

from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from torch import Tensor

from nanoshape_lib.datasets.design import Split
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures import images as galleries
from nanoshape_lib.figures import microscopy, orientations
from nanoshape_lib.figures.html import picture
from nanoshape_lib.figures.style import SHAPE_COLORS, signed
from nanoshape_lib.networks.evaluation import BEAM, PROBABILITIES, confusion_counts
from nanoshape_lib.particles.orientation import reduce
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.studies.campaign import shipped_predictions
from nanoshape_lib.studies.results import load_examples
from nanoshape_lib.widgets.explorer import ACTIVE, one_thread, panel, row

PICTURES_SHOWN = 18
SECTOR_PIXELS, WIDE_PIXELS = 384, 720


class DatasetBrowser(ipywidgets.VBox):
    """Shape, size and a point on the sphere of beam directions; the whole focal series of the wave that lies there.

    Every point is a button: it takes a click, and the keyboard reaches it.

    Parameters
    ----------
    store
        The exit waves.
    split
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    NanoshapeError
        If the split is not finished.
    """

    def __init__(self, store: Store, split: Split = "test"):
        self.store, self.split = store, split
        if store.missing_chunks(split):
            raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing")
        self.table = store.table(split)
        labels = sorted(self.table["label"].unique().tolist())
        self.shape = ipywidgets.Dropdown(
            options=[(Shape(label).title, Shape(label)) for label in labels], description="shape"
        )
        self.size, self.points = ipywidgets.Dropdown(description="size [Å]"), {}
        self.sphere = ipywidgets.Box(layout=ipywidgets.Layout(width=f"{SECTOR_PIXELS}px", max_width="100%"))
        self.sphere.add_class("nanoshape-points")
        self.caption, self.series_view = ipywidgets.HTML(), ipywidgets.HTML()
        left = ipywidgets.VBox([self.shape, self.size, self.sphere, self.caption])
        super().__init__(panel(row(left, self.series_view, width="24em")))
        self.add_class("nanoshape")
        self.shape.observe(self._new_shape, "value")
        self.size.observe(self._new_size, "value")
        self._new_shape()

    def _new_shape(self, _: Any = None) -> None:
        sizes = sorted(self.table.loc[self.table["label"] == self.shape.value, "size_A"].round(1).unique().tolist())
        before = self.size.value or sizes[0]
        with self.size.hold_trait_notifications():
            self.size.options = [(f"{size:g}", size) for size in sizes]
            self.size.value = min(sizes, key=lambda size: abs(size - before))
        self._new_size()

    def _new_size(self, _: Any = None) -> None:
        """Put a button for every wave on the sector, and choose the first."""
        shape = self.shape.value
        rows = self.table[(self.table["label"] == shape) & (self.table["size_A"].round(1) == self.size.value)]
        directions = reduce(rows[BEAM].to_numpy(float), shape)
        for old in self.sphere.children:
            old.close()
        self.points = {}
        places = 100 * orientations.sector_places(shape, directions)
        diameter = "16px" if len(rows) <= 40 else "10px"
        for group, (across, down) in zip(rows["group"].tolist(), places.tolist(), strict=True):
            where = {"left": f"{across:.2f}%", "top": f"{down:.2f}%", "width": diameter, "height": diameter}
            point = ipywidgets.Button(description=f"wave {group}", tooltip=f"wave {group}", layout=where)
            point.style.button_color = SHAPE_COLORS[shape]
            point.on_click(lambda _, group=group: self.choose(group))
            self.points[group] = point
        alt = f"Beam directions of {len(rows)} waves of the {shape.title}, reduced by symmetry"
        drawing = picture(orientations.sector(shape, np.zeros((0, 3))), alt, SECTOR_PIXELS)
        self.sphere.children = [ipywidgets.HTML(drawing, layout={"margin": "0"}), *self.points.values()]
        self.choose(int(rows["group"].iloc[0]))

    @one_thread
    def choose(self, group: int) -> None:
        """Show the focal series of a wave of the chosen shape and size, and mark its point."""
        for other, point in self.points.items():
            (point.add_class if other == group else point.remove_class)(ACTIVE)
        found, design = self.table.loc[group].to_dict(), self.store.design
        title, beam = Shape(int(found["label"])).title, ", ".join(f"{found[name]:.2f}" for name in BEAM)
        self.caption.value = (
            f"Wave {group} of the {self.split} split: {title} of {found['atoms']} atoms, {found['size_A']:.1f} Å, on"
            f" carbon block {found['block']}; beam along ({beam}) of the particle. Click another point; it answers only"
            " while a kernel is running."
        )
        wave = self.store.waves(self.split, group, group + 1)[0]
        images = focal_series(wave, np.array(design.defoci_A), design.microscope, design.detector, design.seed + group)
        figure = microscopy.focal_series(images, design.defoci_A, f"wave {group}")
        defoci = ", ".join(signed(defocus_A) for defocus_A in design.defoci_A)
        self.series_view.value = picture(figure, f"{title}, wave {group}, at the defoci {defoci} Å", WIDE_PIXELS)


class ConfusionExplorer(ipywidgets.VBox):
    """A confusion matrix of buttons; each shows its images, where they lie on the sphere, and the second choice.

    Parameters
    ----------
    predictions
        From :func:`nanoshape_lib.networks.evaluation.predictions_table`, with beam_x, beam_y and beam_z.
    images
        Images (N, n, n), standardised.
    rows
        The row of ``predictions`` that each image belongs to.
    """

    def __init__(self, predictions: pd.DataFrame, images: Tensor, rows: np.ndarray):
        self.predictions, self.images = predictions.reset_index(drop=True), images
        self.rows = pd.Series(range(len(images)), index=rows)
        counts = confusion_counts(self.predictions)
        self.counts = counts["images"].to_numpy().reshape(len(Shape), len(Shape))
        self.cells = {(Shape(row.expected), Shape(row.predicted)): self._button(*row[1:]) for row in counts.itertuples()}
        heads = [ipywidgets.HTML("true \\ answer"), *(ipywidgets.HTML(f"<b>{shape.title}</b>") for shape in Shape)]
        for shape in Shape:
            heads += [ipywidgets.HTML(f"<b>{shape.title}</b>"), *(self.cells[shape, other] for other in Shape)]
        columns = {"grid_template_columns": "auto repeat(5, minmax(3em, 1fr))", "grid_gap": "2px", "max_width": "48em"}
        self.words, self.sphere, self.pictures = (ipywidgets.HTML() for _ in range(3))
        say = ipywidgets.HTML("Click a number. The pictures answer only while a kernel is running.")
        grid = ipywidgets.GridBox(heads, layout={"overflow": "auto", "align_items": "center"} | columns)
        super().__init__(panel(grid, say, row(self.words, self.sphere, width="16em"), self.pictures))
        self.add_class("nanoshape")
        wrong = counts[counts["expected"] != counts["predicted"]].sort_values("images", ascending=False).iloc[0]
        self.choose(Shape(int(wrong["expected"])), Shape(int(wrong["predicted"])))

    @classmethod
    def shipped(cls, temperature: float = 1.0) -> "ConfusionExplorer":
        """The large test set as the shipped network sees it, with the pictures of the examples that are shipped."""
        examples = load_examples("best_cnn6_examples")
        return cls(shipped_predictions("cnn6", temperature), examples.images, examples.table["row"].to_numpy())

    def _button(self, expected: int, predicted: int, count: int) -> ipywidgets.Button:
        """One cell: the number of its images, on a colour for its share of the row."""
        share = count / max(self.counts[expected].sum(), 1)
        depth = np.sqrt(share)  # a share of one in a thousand is still seen
        colour = ", ".join(str(round(255 + depth * (value - 255))) for value in (8, 69, 148))
        tip = f"{Shape(expected).title} called {Shape(predicted).title}: {share:.2%}"
        button = ipywidgets.Button(description=str(count), tooltip=tip, layout={"width": "auto", "margin": "3px"})
        button.style.button_color, button.style.text_color = f"rgb({colour})", "white" if depth > 0.55 else "black"
        button.on_click(lambda _: self.choose(Shape(expected), Shape(predicted)))
        return button

    def choose(self, expected: Shape, predicted: Shape) -> None:
        """Show what is behind one cell, and mark it."""
        for pair, button in self.cells.items():
            (button.add_class if pair == (expected, predicted) else button.remove_class)(ACTIVE)
        of_shape = self.predictions[self.predictions["label"] == expected]
        cell = of_shape[of_shape["predicted"] == predicted]
        waves = cell.groupby("group")[BEAM].first()
        shares = (cell.groupby("group").size() / of_shape.groupby("group").size()).reindex(waves.index)
        if cell.empty:
            self.words.value = f"No image of the {expected.title} is called {predicted.title}."
            self.sphere.value = self.pictures.value = ""
            return
        called = "called rightly" if expected == predicted else f"called {predicted.title}"
        second = ", ".join(
            f"{Shape(label).title} {count} ({count / len(cell):.0%})"
            for label, count in cell["second"].value_counts().items()
        )
        self.words.value = (
            f"<b>{expected.title} {called}</b>: {len(cell):,} images, {len(cell) / len(of_shape):.2%} of its images, from"
            f" {len(waves):,} exit waves. Second choice: {second}. Each point is the beam direction of a wave; the"
            " larger it is, the more of its images are in this cell."
        )
        directions = reduce(waves[BEAM].to_numpy(float), expected)
        alt = f"{len(waves)} beam directions of the {expected.title}, reduced by symmetry"
        self.sphere.value = picture(orientations.sector(expected, directions, shares.to_numpy()), alt, SECTOR_PIXELS)
        self.pictures.value = self._pictures(cell)

    def _pictures(self, cell: pd.DataFrame) -> str:
        """The images of a cell that there are pictures of, each with its size, defocus, and first and second choice."""
        shown = cell[cell.index.isin(self.rows.index)].iloc[:PICTURES_SHOWN]
        if shown.empty:
            return "None of these images is among the pictures that are here."
        words = [
            f"{each['size_A']:.0f} Å, {signed(each['defocus_A'])} Å\n"
            + ", ".join(f"{galleries.SHORT[Shape(i)]} {each[f'p{i}']:.0%}" for i in (each["predicted"], each["second"]))
            for each in shown.to_dict("records")
        ]
        pictures = self.images[self.rows[shown.index].to_numpy()].float().numpy()
        shares, labels = shown[PROBABILITIES].to_numpy(), shown["label"].tolist()
        note = f"{len(shown)} of {len(cell):,} images"
        figure = galleries.image_gallery(pictures, shares, labels, words, note)
        alt = f"{note}: " + "; ".join(each.replace("\n", ": ") for each in words)
        return picture(figure, alt, WIDE_PIXELS)
