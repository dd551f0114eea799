"""Widgets that look into a data set and into a confusion matrix."""

from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib import colormaps
from torch import Tensor

from nanoshape_lib.datasets.design import Split
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.html import picture
from nanoshape_lib.figures.microscopy import focal_series as draw_series
from nanoshape_lib.figures.results import SHORT, image_gallery
from nanoshape_lib.figures.structures import sector, sector_places
from nanoshape_lib.figures.style import SHAPE_COLORS, signed
from nanoshape_lib.networks.evaluation import BEAM, PROBABILITIES, confusion_counts
from nanoshape_lib.particles.orientation import reduce
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.widgets.explorer import ACTIVE, one_thread, panel, row

PICTURES_SHOWN, SECTOR_PIXELS, WIDE_PIXELS = 18, 384, 720


class DatasetBrowser(ipywidgets.VBox):
    """Shape, size and a point on the sphere of beam directions; the whole focal series of the wave that lies there."""

    def __init__(self, store: Store, split: Split = "test"):
        if store.missing(split):
            raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing")
        self.store, self.split, self.table = store, split, store.table(split)
        shapes = [(shape.title, shape) for shape in Shape if shape in set(self.table["label"])]
        self.shape = ipywidgets.Dropdown(options=shapes, description="shape")
        self.size = ipywidgets.Dropdown(description="size [Å]")
        self.sphere = ipywidgets.Box(layout={"width": f"{SECTOR_PIXELS}px", "max_width": "100%"})
        self.sphere.add_class("nanoshape-points")
        self.caption, self.series_view = ipywidgets.HTML(), ipywidgets.HTML()
        left = ipywidgets.VBox([self.shape, self.size, self.sphere, self.caption])
        super().__init__(panel(row(left, self.series_view, width="24em")))
        self.size.observe(self._new_size, "value")
        self.shape.observe(self._new_shape, "value")
        self._new_shape()

    def _new_shape(self, _: Any = None) -> None:
        """Offer the sizes of the shape, and choose the one nearest to that before."""
        sizes = sorted(self.table["size_A"][self.table["label"] == self.shape.value].round(1).unique().tolist())
        before, self.size.value = self.size.value or sizes[0], None
        self.size.options = sizes
        self.size.value = min(sizes, key=lambda size_A: abs(size_A - before))

    def _new_size(self, _: Any = None) -> None:
        """Put a button for every wave on the sector, and choose the first."""
        shape, size_A = self.shape.value, self.size.value
        if size_A is None:
            return
        rows = self.table[(self.table["label"] == shape) & (self.table["size_A"].round(1) == size_A)]
        alt = f"Beam directions of {len(rows)} waves of the {shape.title}, reduced by symmetry"
        drawing = ipywidgets.HTML(picture(sector(shape, np.zeros((0, 3))), alt, SECTOR_PIXELS), layout={"margin": "0"})
        places = sector_places(shape, reduce(rows[BEAM].to_numpy(float), shape))
        self.points: dict[int, ipywidgets.Button] = {}
        for group, (across, down) in zip(rows["group"].tolist(), places, strict=True):
            where = {"left": f"{across:.2%}", "top": f"{down:.2%}", "width": "12px", "height": "12px"}
            point = ipywidgets.Button(description=f"wave {group}", tooltip=f"wave {group}", layout=where)
            point.style.button_color = SHAPE_COLORS[shape]
            point.on_click(lambda _, group=group: self.choose(group))
            self.points[group] = point
        for old in self.sphere.children:
            old.close()
        self.sphere.children = [drawing, *self.points.values()]
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
            f" carbon block {found['block']}; beam along ({beam}). Click a point; it answers while a kernel is running."
        )
        wave = self.store.waves(self.split, group, group + 1)[0]
        images = focal_series(wave, np.array(design.defoci_A), design.microscope, design.camera, design.seed + group)
        alt = f"{title}, wave {group}, at {', '.join(f'{signed(defocus_A)} Å' for defocus_A in design.defoci_A)}"
        self.series_view.value = picture(draw_series(images, design.defoci_A, f"wave {group}"), alt, WIDE_PIXELS)


class ConfusionExplorer(ipywidgets.VBox):
    """Buttons that show a cell's images, directions and second choices; image i belongs to row ``rows[i]``."""

    def __init__(self, predictions: pd.DataFrame, images: Tensor, rows: np.ndarray):
        self.predictions, self.images = predictions.reset_index(drop=True), images
        self.places = pd.Series(range(len(images)), index=rows)
        counts = confusion_counts(self.predictions)["images"].to_numpy().reshape(len(Shape), len(Shape))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        self.cells = {(i, j): self._button(i, j, counts[i, j], shares[i, j]) for i in Shape for j in Shape}
        words = ["true \\ answer", *(f"<b>{shape.title}</b>" for shape in Shape)]
        children: list[ipywidgets.Widget] = [ipywidgets.HTML(word) for word in words]
        for shape in Shape:
            children += [ipywidgets.HTML(f"<b>{shape.title}</b>"), *(self.cells[shape, other] for other in Shape)]
        columns = {"grid_template_columns": "auto repeat(5, minmax(8em, 1fr))", "max_width": "62em", "overflow": "auto"}
        self.words, self.sphere, self.pictures = (ipywidgets.HTML() for _ in range(3))
        grid = ipywidgets.GridBox(children, layout={"grid_gap": "2px", "align_items": "center", **columns})
        super().__init__(panel(grid, row(self.words, self.sphere, width="16em"), self.pictures))
        self.choose(*max((pair for pair in self.cells if pair[0] != pair[1]), key=lambda pair: counts[pair]))

    def _button(self, expected: Shape, predicted: Shape, count: int, share: float) -> ipywidgets.Button:
        """One cell: the number of its images, on a colour for its share of the row."""
        depth = np.sqrt(share)  # a share of one in a thousand is still seen
        tip = f"{expected.title} called {predicted.title}: {share:.2%}"
        button = ipywidgets.Button(description=str(count), tooltip=tip, layout={"width": "auto", "margin": "3px"})
        button.style.button_color = "rgb({}, {}, {})".format(*colormaps["Blues"](depth, bytes=True))
        button.style.text_color = "white" if depth > 0.55 else "black"
        button.on_click(lambda _: self.choose(expected, predicted))
        return button

    def choose(self, expected: Shape, predicted: Shape) -> None:
        """Show what is behind one cell, and mark it."""
        for pair, button in self.cells.items():
            (button.add_class if pair == (expected, predicted) else button.remove_class)(ACTIVE)
        of_shape = self.predictions[self.predictions["label"] == expected]
        cell = of_shape[of_shape["predicted"] == predicted]
        if cell.empty:
            self.words.value = f"No image of the {expected.title} is called {predicted.title}."
            self.sphere.value = self.pictures.value = ""
            return
        waves = cell.groupby("group")[BEAM].first()
        shares = cell.groupby("group").size() / of_shape.groupby("group").size().reindex(waves.index)
        seconds = np.bincount(cell["second"], minlength=len(Shape))
        second = ", ".join(f"{s.title} {n} ({n / len(cell):.0%})" for s, n in zip(Shape, seconds, strict=True) if n)
        self.words.value = (
            f"<b>{expected.title} called {predicted.title}</b>: {len(cell):,} or {len(cell) / len(of_shape):.2%} of its"
            f" images, from {len(waves):,} exit waves. Second choice: {second}. Each point is the beam direction of a"
            " wave, larger the more of its images are here. Click a number; it answers while a kernel is running."
        )
        alt = f"{len(waves)} beam directions of the {expected.title}, reduced by symmetry"
        directions = reduce(waves[BEAM].to_numpy(float), expected)
        self.sphere.value = picture(sector(expected, directions, shares.to_numpy()), alt, SECTOR_PIXELS)
        self.pictures.value = self._pictures(cell)

    def _pictures(self, cell: pd.DataFrame) -> str:
        """The images of a cell that there are pictures of, each with its size, defocus, and first and second choice."""
        shown = cell[cell.index.isin(self.places.index)].iloc[:PICTURES_SHOWN]
        if shown.empty:
            return "None of these images is among the pictures that are here."
        words = [
            f"{each['size_A']:.0f} Å, {signed(each['defocus_A'])} Å"
            + "".join(f"\n{SHORT[Shape(i)]} {each[f'p{i}']:.0%}" for i in (each["predicted"], each["second"]))
            for each in shown.to_dict("records")
        ]
        images = self.images[self.places[shown.index].tolist()].float().numpy()
        shares, note = shown[PROBABILITIES].to_numpy(), f"{len(shown)} of {len(cell):,} images"
        figure = image_gallery(images, shares, shown["label"].tolist(), words, note)
        return picture(figure, f"{note}: {'; '.join(words)}".replace("\n", ", "), WIDE_PIXELS)
