"""Widgets: a live explorer for a notebook, and a focal series that moves without a kernel."""

import io
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.widgets import drawing as draw
from nanoshape_lib.widgets import live
from nanoshape_lib.widgets.explorer_model import (
    IMAGING_NAMES,
    PARTICLE_NAMES,
    Classifier,
    ExplorerModel,
    Particle,
    Simulated,
    shipped_classifier,
    turn_knobs,
)
from nanoshape_lib.widgets.knobs import FILM_LABEL, KNOBS, KnobError
from nanoshape_lib.widgets.latest import Latest
from nanoshape_lib.widgets.parts import LABEL_WIDTH, OURS, STALE, Control, number_control, shared, style, wrapping

FRAME_PIXELS = 580


class Explorer(ipywidgets.VBox):
    """Knobs, the particle, its exit wave, its image and the classifier's probabilities, live in a notebook.

    A knob of the microscope or of the camera forms a new image at once. A knob of the particle asks for a new
    exit wave, which is computed in the background; until it is there the pictures are grey, and of several
    requests the newest wins.

    Parameters
    ----------
    classifier
        Whose probabilities are shown; by default the network that is shipped.
    **settings
        As for `ExplorerModel`.
    """

    def __init__(self, classifier: Classifier | None = None, **settings: Any):
        self.model = ExplorerModel(classifier or shipped_classifier(), **settings)
        self.wanted, self.waiting = self.model.particle, False
        self.waves: Latest[Particle, tuple[Simulated, list[str]]] = Latest(self._simulate, self._arrived)
        self.controls = {name: self._control(name) for name in ("shape", *KNOBS, "film")}
        self.status, self.particle_caption = ipywidgets.HTML(), ipywidgets.HTML()
        self.particle_views = [ipywidgets.HTML(layout=shared("12em")) for _ in range(4)]
        self.image_view, self.spectrum_view, self.transfer_view = (
            ipywidgets.HTML(layout=shared("15em")) for _ in range(3)
        )
        self.bars, self.calibration = ipywidgets.HTML(), ipywidgets.HTML()
        columns = []
        for title, group in (("Particle", "particle"), ("Microscope", "microscope"), ("Camera", "camera")):
            rows = [self.controls[name] for name, knob in KNOBS.items() if knob.group == group]
            if group == "particle":
                rows = [self.controls["shape"], *rows, self.controls["film"]]
            columns.append(ipywidgets.VBox([ipywidgets.HTML(f"<b>{title}</b>"), *rows], layout=shared("23.5em")))
        outputs = ipywidgets.VBox([self.bars, self.calibration], layout=shared("17em"))
        above = ipywidgets.HBox(self.particle_views, layout=wrapping())
        below = ipywidgets.HBox([self.image_view, self.spectrum_view, self.transfer_view, outputs], layout=wrapping())
        self.pictures = ipywidgets.VBox([self.particle_caption, above, below])
        super().__init__([style(), ipywidgets.HBox(columns, layout=wrapping()), self.status, self.pictures])
        self.add_class(OURS)
        self._show_particle(live.particle_pictures(self.model.simulated))
        self._show_image()
        self._say("Turn a knob. The pictures answer only while a kernel is running.")

    def _control(self, name: str) -> Control:
        """The control of one field, named with its unit."""
        value = getattr(self.model.particle if name in PARTICLE_NAMES else self.model.imaging, name)
        if name == "shape":
            options = [(shape.title, shape) for shape in Shape]
            entry = ipywidgets.Dropdown(
                options=options,
                value=value,
                description="shape",
                style={"description_width": LABEL_WIDTH},
                layout=ipywidgets.Layout(width="22em"),
            )
            return Control(name, entry, self._turned)
        if name == "film":
            return Control(name, ipywidgets.Checkbox(value=value, description=FILM_LABEL, indent=False), self._turned)
        return number_control(KNOBS[name], value, self._turned, live=name in IMAGING_NAMES)

    def _turned(self, name: str, value: Any) -> None:
        """Form a new image, ask for a new wave, or say beside the control why that cannot be."""
        start = time.perf_counter()
        self.controls[name].refuse("")
        try:
            wanted, imaging = turn_knobs(self.wanted, self.model.imaging, {name: value})
        except KnobError as error:
            self._refuse(error)
            return
        if imaging != self.model.imaging:
            self.model.imaging = imaging
            self._show_image()
        if wanted != self.wanted:
            self._ask(wanted)
        elif not self.waiting:
            self._say(f"Done in {time.perf_counter() - start:.2f} s.")

    def _ask(self, wanted: Particle) -> None:
        """Ask for a wave, and show that the pictures are those of another particle."""
        self.wanted = wanted
        self.controls["size_A"].refuse("")
        if wanted == self.model.particle:
            self.waves.forget()
            self._settle("The pictures show this particle.")
            return
        self.waiting = True
        self.pictures.add_class(STALE)
        self._say(
            f'Computing the exit wave of the {wanted.shape.title} of {wanted.size_A:g} Å … <progress aria-label="'
            'computing the exit wave"></progress>'
        )
        self.waves.ask(wanted)

    def _simulate(self, wanted: Particle) -> tuple[Simulated, list[str]]:
        """The wave and its pictures; in the background."""
        simulated = self.model.simulate(wanted)
        return simulated, live.particle_pictures(simulated)

    def _arrived(self, wanted: Particle, answer: tuple[Simulated, list[str]] | Exception) -> None:
        """Show a new wave, or why there is none."""
        self._settle("Done.")
        if isinstance(answer, KnobError):
            self._refuse(answer)
        elif isinstance(answer, Exception):
            self._say(f"The exit wave could not be computed: {answer}. The pictures show the particle before.")
        else:
            self.model.particle, self.model.simulated = wanted, answer[0]
            self._show_particle(answer[1])
            self._show_image()

    def _refuse(self, error: KnobError) -> None:
        self.controls[error.knob].refuse(f"Not possible: {error}.")
        if not self.waiting:
            self._say("A value is not possible. The pictures show the settings before.")

    def _settle(self, text: str) -> None:
        """Nothing is being waited for any more."""
        self.waiting = False
        self.pictures.remove_class(STALE)
        self._say(text)

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{text}</span>'

    def _show_particle(self, pictures: list[str]) -> None:
        atoms = self.model.simulated.atoms
        self.particle_caption.value = (
            f"{self.model.particle.shape.title.capitalize()} of {len(atoms)} atoms; the nearest size at which it"
            f" exists is {atoms.info['size_A']:.1f} Å"
        )
        for view, picture in zip(self.particle_views, pictures, strict=True):
            view.value = picture

    def _show_image(self) -> None:
        model = self.model
        image = model.image()
        self.image_view.value = live.image_picture(image, model)
        self.spectrum_view.value = live.spectrum_picture(image, model.imaging.pixel_size_A)
        self.transfer_view.value = live.transfer_curve(model)
        outputs = model.outputs(image[None])
        self.bars.value = live.bars(outputs[0]) if outputs is not None else ""
        self.calibration.value = calibration_words(model)


def calibration_words(model: ExplorerModel) -> str:
    """What the probabilities of a model mean, and for which images."""
    if model.classifier is None:
        return ""
    _, temperature, _, error = model.classifier
    words = [
        f"Calibrated: the network's logits are divided by {temperature:.2f}, a temperature fitted on validation images"
        " so that of the images named with a probability of 90 %, about 90 % are named rightly."
    ]
    if error is not None:
        words.append(f"On test images the two differ by {100 * error:.2f} percentage points on average.")
    unlike = model.unlike_training()
    if unlike:
        words.append(
            f"<b>It has not learned from images like this</b> ({', '.join(unlike)}): do not count on that here."
        )
    if "pixel size" in unlike:
        words.append("It is brought to pixels of 1.0 Å for the network.")
    return " ".join(words)


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
        title = f"defocus {draw.signed(defocus_A)} Å"
        figure = draw.frame(image, row, title, model.particle.shape)
        frames.append(ipywidgets.HTML(live.embedded(_figure_png(figure), _frame_words(title, row), FRAME_PIXELS)))
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


def _frame_words(title: str, outputs: np.ndarray | None) -> str:
    """What one frame shows, for those who do not see it."""
    if outputs is None:
        return f"image at {title}"
    likeliest = Shape(int(outputs.argmax()))
    return f"image at {title}; the classifier says {likeliest.title}, {outputs.max():.0%}"


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
