"""Widgets that look into a data set and into a confusion matrix."""

from typing import Any

import ipywidgets
import numpy as np

from nanoshape_lib.figures.style import SHAPE_COLORS
from nanoshape_lib.networks.evaluation import BEAM, PROBABILITIES
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.widgets import live
from nanoshape_lib.widgets.browsing import BrowserModel, Cell, ConfusionModel, sector_points
from nanoshape_lib.widgets.drawing import SHORT, signed
from nanoshape_lib.widgets.parts import MATRIX, OURS, POINTS, shared, style, wrapping

PICTURES_SHOWN = 24
CROWD = 40
ACTIVE = "mod-active"


class DatasetBrowser(ipywidgets.VBox):
    """Shape, size and a point on the sphere of beam directions; the whole focal series of the wave that lies there.

    Every point is a button: it takes a click, and the keyboard reaches it.

    Parameters
    ----------
    model
        The waves to browse.
    """

    def __init__(self, model: BrowserModel):
        self.model = model
        labels = sorted(int(label) for label in model.table["label"].unique())
        narrow = {"style": {"description_width": "4em"}, "layout": ipywidgets.Layout(width="18em")}
        self.shape = ipywidgets.Dropdown(
            options=[(Shape(label).title, Shape(label)) for label in labels], description="shape", **narrow
        )
        self.size = ipywidgets.Dropdown(description="size [Å]", **narrow)
        self.points: dict[int, ipywidgets.Button] = {}
        self.sphere = ipywidgets.Box(layout=ipywidgets.Layout(width="100%", max_width="26em"))
        self.sphere.add_class(POINTS)
        self.caption, self.series_view = ipywidgets.HTML(), ipywidgets.HTML(layout=shared("24em", grow=2))
        left = ipywidgets.VBox([self.shape, self.size, self.sphere, self.caption], layout=shared("19em"))
        super().__init__([style(), ipywidgets.HBox([left, self.series_view], layout=wrapping())])
        self.add_class(OURS)
        self.shape.observe(self._new_shape, "value")
        self.size.observe(self._new_size, "value")
        self._new_shape()

    def _new_shape(self, _: Any = None) -> None:
        sizes = self.model.sizes(self.shape.value)
        # The size nearest to the one before stays.
        before = self.size.value or sizes[0]
        self.size.unobserve(self._new_size, "value")
        self.size.options = [(f"{size:g}", size) for size in sizes]
        self.size.value = min(sizes, key=lambda size: abs(size - before))
        self.size.observe(self._new_size, "value")
        self._new_size()

    def _new_size(self, _: Any = None) -> None:
        """Put a button for every wave on the sector, and choose the first."""
        shape = self.shape.value
        rows = self.model.waves(shape, self.size.value)
        places = 100 * live.sector_place(rows[["u", "v"]].to_numpy(), shape)
        for old in self.sphere.children:
            old.close()
        self.points = {}
        diameter = "16px" if len(rows) <= CROWD else "10px"
        for group, (across, down) in zip(rows["group"].tolist(), places.tolist(), strict=True):
            point = ipywidgets.Button(
                description=f"wave {group}",
                tooltip=f"wave {group}",
                layout=ipywidgets.Layout(left=f"{across:.2f}%", top=f"{down:.2f}%", width=diameter, height=diameter),
                style={"button_color": SHAPE_COLORS[shape]},
            )
            point.on_click(self._clicked)
            self.points[group] = point
        alt = f"Beam directions of {len(rows)} waves of the {shape.title}, reduced by symmetry"
        drawing = ipywidgets.HTML(
            live.sector(shape, np.zeros((0, 2)), alt), layout=ipywidgets.Layout(width="100%", margin="0")
        )
        self.sphere.children = [drawing, *self.points.values()]
        self.choose(int(rows["group"].iloc[0]))

    def _clicked(self, button: ipywidgets.Button) -> None:
        self.choose(next(group for group, point in self.points.items() if point is button))

    def choose(self, group: int) -> None:
        """Show the focal series of a wave of the chosen shape and size, and mark its point."""
        for other, point in self.points.items():
            (point.add_class if other == group else point.remove_class)(ACTIVE)
        row = self.model.table.loc[group].to_dict()
        title = Shape(int(row["label"])).title
        beam = ", ".join(f"{value:.2f}".replace("-", "−") for value in (row[name] for name in BEAM))
        self.caption.value = (
            f"Wave {group} of the {self.model.split} split: {title} of {row['atoms']} atoms, {row['size_A']:.1f} Å, on"
            f" carbon block {row['block']}; beam along ({beam}) of the particle. Click another point; it answers only"
            " while a kernel is running."
        )
        defoci = [f"{signed(defocus_A)} Å" for defocus_A in self.model.store.design.defoci_A]
        alts = [f"{title}, wave {group}, at defocus {defocus}" for defocus in defoci]
        self.series_view.value = live.strip(self.model.series(group), defoci, alts)


class ConfusionExplorer(ipywidgets.VBox):
    """A confusion matrix of buttons; each shows its images, where they lie on the sphere, and the second choice.

    Parameters
    ----------
    model
        The matrix; by default that of the network that is shipped.
    """

    def __init__(self, model: ConfusionModel | None = None):
        self.model = model = model or ConfusionModel.shipped()
        shares = model.counts / np.maximum(model.counts.sum(axis=1, keepdims=True), 1)
        self.cells: dict[tuple[Shape, Shape], ipywidgets.Button] = {}
        children: list[ipywidgets.Widget] = [ipywidgets.HTML("true \\ answer")]
        children += [ipywidgets.HTML(f"<b>{SHORT[shape]}</b>") for shape in Shape]
        for expected in Shape:
            children.append(ipywidgets.HTML(f"<b>{expected.title}</b>"))
            for predicted in Shape:
                children.append(self._button(expected, predicted, shares[expected, predicted]))
        grid = ipywidgets.GridBox(
            children,
            layout=ipywidgets.Layout(
                grid_template_columns="minmax(4.5em, auto) repeat(5, minmax(3em, 1fr))",
                grid_gap="2px",
                align_items="center",
                width="100%",
                max_width="44em",
                overflow="auto",
            ),
        )
        self.words = ipywidgets.HTML(layout=ipywidgets.Layout(flex="1 1 16em", max_width="36em"))
        self.sphere = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%", max_width="24em"))
        self.pictures = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%"))
        where = ipywidgets.HBox([self.words, self.sphere], layout=wrapping())
        grid.add_class(MATRIX)
        names = ", ".join(f"{SHORT[shape]} {shape.title}" for shape in Shape if SHORT[shape] != shape.title)
        say = ipywidgets.HTML(f"Click a number ({names}). The pictures answer only while a kernel is running.")
        super().__init__([style(), grid, say, where, self.pictures])
        self.add_class(OURS)
        self.choose(*self._first())

    def _button(self, expected: Shape, predicted: Shape, share: float) -> ipywidgets.Button:
        """One cell: the number of its images, on a colour for its share of the row."""
        count = int(self.model.counts[expected, predicted])
        depth = np.sqrt(share)  # a share of one in a thousand is still seen
        red, green, blue = (round(255 + depth * (value - 255)) for value in (8, 69, 148))
        button = ipywidgets.Button(
            description=str(count),
            tooltip=f"{expected.title} called {predicted.title}: {share:.2%}",
            layout=ipywidgets.Layout(width="auto", margin="0", padding="0"),
            style={"button_color": f"rgb({red}, {green}, {blue})", "text_color": "white" if depth > 0.55 else "black"},
        )
        self.cells[expected, predicted] = button
        button.on_click(self._clicked)
        return button

    def _first(self) -> tuple[Shape, Shape]:
        """The most frequent mistake."""
        wrong = self.model.counts * (1 - np.eye(len(Shape), dtype=int))
        expected, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        return Shape(int(expected)), Shape(int(predicted))

    def _clicked(self, button: ipywidgets.Button) -> None:
        self.choose(*next(pair for pair, cell in self.cells.items() if cell is button))

    def choose(self, expected: Shape, predicted: Shape) -> None:
        """Show what is behind one cell, and mark it."""
        for pair, button in self.cells.items():
            button.layout.border = "3px solid #111" if pair == (expected, predicted) else "3px solid transparent"
        cell = self.model.cell(expected, predicted)
        self.words.value = _cell_words(cell)
        alt = f"{len(cell.waves)} beam directions of the {expected.title}, reduced by symmetry"
        points = sector_points(cell.waves, expected)
        self.sphere.value = live.sector(expected, points, alt, cell.waves["share"].tolist())
        self.pictures.value = self._pictures(cell)

    def _pictures(self, cell: Cell) -> str:
        """The images of a cell that there are pictures of, each with its first and second choice."""
        if cell.rows.empty:
            return ""
        if not cell.pictured:
            return "None of these images is among the pictures that are here."
        shown, labels, alts = cell.pictured[:PICTURES_SHOWN], [], []
        for _, row in shown:
            found = cell.rows.loc[row].to_dict()
            first, second = Shape(int(found["predicted"])), Shape(int(found["second"]))
            sure, less = found[PROBABILITIES[first]], found[PROBABILITIES[second]]
            where = f"{found['size_A']:.0f} Å, {signed(found['defocus_A'])} Å"
            labels.append(f"{where}<br>{SHORT[first]} {sure:.0%}, {SHORT[second]} {less:.0%}")
            alts.append(f"{cell.expected.title} of {found['size_A']:.0f} Å at defocus {signed(found['defocus_A'])} Å")
        images = [self.model.images[position].float().numpy() for position, _ in shown]
        note = f"{len(shown)} of the {len(cell.rows):,} images; below each size, defocus and the first two choices."
        return f"<div>{note}</div>{live.strip(images, labels, alts)}"


def _cell_words(cell: Cell) -> str:
    """How many images are in a cell, of how many waves, and what their second choice is."""
    if cell.rows.empty:
        return f"No image of the {cell.expected.title} is called {cell.predicted.title}."
    called = "called rightly" if cell.expected == cell.predicted else f"called {cell.predicted.title}"
    return (
        f"<b>{cell.expected.title} {called}</b>: {len(cell.rows):,} images, {cell.share:.2%} of its images, from"
        f" {len(cell.waves):,} exit waves. Second choice: {live.shares(cell.second)}. Each point below is the beam"
        " direction of a wave; the larger it is, the more of its images are in this cell."
    )
