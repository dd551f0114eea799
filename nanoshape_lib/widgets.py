"""Widgets: a live explorer for a notebook, and a focal series that moves without a kernel."""

import io
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.explorer import IMAGING_NAMES, KNOBS, PARTICLE_NAMES, ExplorerModel
from nanoshape_lib.figures import explorer as draw
from nanoshape_lib.figures._style import SHAPE_COLORS
from nanoshape_lib.shapes import Shape
from nanoshape_lib.substrate import FIELD_A

SCREEN_PIXELS = 384


class Explorer(ipywidgets.VBox):
    """Knobs, the particle, its exit wave, its image and the classifier's outputs, live in a notebook.

    Parameters
    ----------
    network
        Classifier whose outputs are shown; None shows none.
    **settings
        As for `ExplorerModel`.
    """

    def __init__(self, network: nn.Module | None = None, **settings: Any):
        self.model = ExplorerModel(network, **settings)
        self.controls = {name: self._control(name) for name in ("shape", *KNOBS, "film")}
        self.status = ipywidgets.HTML()
        self.particle_view, self.image_view = ipywidgets.Image(layout=_whole()), ipywidgets.Image(layout=_whole())
        self.particle_caption, self.image_caption, self.bars = (ipywidgets.HTML() for _ in range(3))
        for control in self.controls.values():
            control.observe(self._turned, "value")
        columns = []
        for title, names in (("Particle", PARTICLE_NAMES), ("Microscope", IMAGING_NAMES)):
            rows = [control for name, control in self.controls.items() if name in names]
            columns.append(ipywidgets.VBox([ipywidgets.HTML(f"<b>{title}</b>"), *rows], layout=_shared()))
        image = ipywidgets.VBox([self.image_view, self.image_caption], layout=_shared())
        outputs = ipywidgets.VBox([self.bars], layout=_shared())
        views = [self.particle_caption, self.particle_view, ipywidgets.HBox([image, outputs], layout=_wrapping())]
        super().__init__([ipywidgets.HBox(columns, layout=_wrapping()), self.status, *views])
        self._show(new_particle=True)
        self._say("Turn a knob. The pictures answer only while a kernel is running.")

    def _control(self, name: str) -> ipywidgets.ValueWidget:
        """The input for one field, named with its unit."""
        common = {"style": {"description_width": "9em"}, "layout": ipywidgets.Layout(width="auto")}
        value = getattr(self.model.particle if name in PARTICLE_NAMES else self.model.imaging, name)
        if name == "shape":
            options = [(shape.title, shape) for shape in Shape]
            return ipywidgets.Dropdown(options=options, value=value, description="shape", **common)
        if name == "film":
            return ipywidgets.Checkbox(value=value, description="carbon film under the particle", indent=False)
        knob = KNOBS[name]
        common |= {"description": f"{knob.name} [{knob.unit}]", "continuous_update": name in IMAGING_NAMES}
        if knob.logarithmic:
            ends = {"min": np.log10(knob.minimum), "max": np.log10(knob.maximum)}
            return ipywidgets.FloatLogSlider(value=value, step=knob.step, readout_format=".0f", **ends, **common)
        ends = {"min": knob.minimum, "max": knob.maximum, "step": knob.step}
        digits = 2 if knob.step < 1 else 0
        return ipywidgets.FloatSlider(value=value, readout_format=f".{digits}f", **ends, **common)

    def _turned(self, change: Any) -> None:
        """Bring the model to where the controls stand and show it, or say why that cannot be."""
        wave, start = self.model.simulated.wave, time.perf_counter()
        if change["owner"] in [self.controls[name] for name in PARTICLE_NAMES]:
            self._say("Computing the exit wave …")
        try:
            self.model.change(**{name: control.value for name, control in self.controls.items()})
        except NanoshapeError as error:
            self._say(f"Not possible: {error}. The pictures still show the settings before.", refused=True)
            return
        self._show(new_particle=self.model.simulated.wave is not wave)
        self._say(f"Done in {time.perf_counter() - start:.2f} s.")

    def _say(self, text: str, refused: bool = False) -> None:
        colour = "#a11a00" if refused else "inherit"
        self.status.value = f'<span role="status" style="color: {colour}">{text}</span>'

    def _show(self, new_particle: bool) -> None:
        model = self.model
        if new_particle:
            atoms = model.simulated.atoms
            self.particle_caption.value = (
                f"{model.particle.shape.title.capitalize()} of {len(atoms)} atoms; the nearest size at which it exists"
                f" is {atoms.info['size_A']:.1f} Å"
            )
            self.particle_view.value = _figure_png(draw.particle_panels(model.simulated))
        image = model.image()
        outputs = model.outputs(image[None])
        self.image_view.value = _image_png(image)
        self.image_caption.value = _image_caption(model)
        self.bars.value = "" if outputs is None else _bars(outputs[0])


def focal_stack(model: ExplorerModel, defoci_A: Sequence[float]) -> ipywidgets.VBox:
    """A slider over images made beforehand, which works on a page without a kernel.

    Parameters
    ----------
    model
        Its particle, microscope and classifier are used.
    defoci_A
        One frame for each defocus [Å].

    Returns
    -------
    ipywidgets.VBox
        The slider, linked in the browser to the stack of frames below it. Every frame names its defocus.

    Raises
    ------
    NanoshapeError
        If there are fewer than two defoci.
    """
    if len(defoci_A) < 2:
        raise NanoshapeError(f"defoci_A has {len(defoci_A)} values, but must have at least two")
    images = model.series(defoci_A)
    outputs = model.outputs(images)
    frames = []
    for index, (image, defocus_A) in enumerate(zip(images, defoci_A, strict=True)):
        row = None if outputs is None else outputs[index]
        figure = draw.frame(image, row, f"defocus {draw.signed(defocus_A)} Å", model.particle.shape)
        frames.append(ipywidgets.Image(value=_figure_png(figure), layout=_whole()))
    slider = ipywidgets.SelectionSlider(
        options=[(f"{draw.signed(defocus_A)} Å", index) for index, defocus_A in enumerate(defoci_A)],
        index=len(defoci_A) // 2,
        description="defocus [Å]",
        style={"description_width": "8em"},
        layout=ipywidgets.Layout(width="100%", max_width="40em"),
    )
    stack = ipywidgets.Stack(frames, selected_index=slider.index)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _image_png(image: np.ndarray) -> bytes:
    """An image (128, 128), indexed [x, y], as a PNG of 384 x 384 pixels."""
    buffer = io.BytesIO()
    grey = Image.fromarray(draw.as_grey(image))
    grey.resize((SCREEN_PIXELS, SCREEN_PIXELS), Image.Resampling.NEAREST).save(buffer, format="png")
    return buffer.getvalue()


def _whole() -> ipywidgets.Layout:
    """A picture at its own size, or smaller where there is less room."""
    return ipywidgets.Layout(max_width="100%", height="auto", object_fit="contain", align_self="flex-start")


def _wrapping() -> ipywidgets.Layout:
    return ipywidgets.Layout(flex_flow="row wrap", width="100%")


def _shared() -> ipywidgets.Layout:
    """Half the width, or all of it where half would be too narrow."""
    return ipywidgets.Layout(flex="1 1 19em", min_width="0", padding="0 0.6em 0 0")


def _image_caption(model: ExplorerModel) -> str:
    imaging = model.imaging
    return (
        f"Image, {FIELD_A:g} Å wide: defocus {draw.signed(imaging.defocus_A)} Å, Cs {draw.signed(imaging.Cs_um)} µm,"
        f" focal spread {imaging.focal_spread_A:.0f} Å, dose {imaging.dose_e_A2:.0f} e/Å²"
    )


def _bars(outputs: np.ndarray) -> str:
    """The classifier's outputs as a table with a bar in each row; the numbers stand beside the bars."""
    rows = []
    for shape, output in zip(Shape, outputs, strict=True):
        name = f"<b>{shape.title}</b>" if output == outputs.max() else shape.title
        bar = f"width: {100 * output:.1f}%; height: 0.9em; background: {SHAPE_COLORS[shape]}"
        percent = f'<td style="white-space: nowrap">{100 * output:.0f} %</td>'
        cells = f'<td>{name}</td><td style="width: 35%"><div style="{bar}"></div></td>{percent}'
        rows.append(f"<tr>{cells}</tr>")
    caption = "<caption>The classifier's outputs</caption>"
    return f'<table style="width: 100%; line-height: 1.3">{caption}{"".join(rows)}</table>'
