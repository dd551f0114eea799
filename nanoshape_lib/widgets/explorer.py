"""Widgets: a live explorer for a notebook, and a focal series that moves without a kernel."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from html import escape
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from IPython.display import Javascript
from scipy.signal import resample
from threadpoolctl import ThreadpoolController
from torch import nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures import explorer as draw
from nanoshape_lib.figures.html import picture
from nanoshape_lib.figures.style import signed
from nanoshape_lib.networks.evaluation import PROBABILITIES, predictions_table
from nanoshape_lib.networks.models import IMAGE_PIXELS, load_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A, shake
from nanoshape_lib.paths import data_file
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, deposit
from nanoshape_lib.simulation.imaging import focal_series, phase_transfer, standardise
from nanoshape_lib.simulation.optics import Microscope
from nanoshape_lib.widgets.knobs import DEFAULTS, FILM_LABEL, KNOBS, WAVE_SETTINGS, KnobError, checked, instrument, seen

STALE, ACTIVE = "nanoshape-stale", "mod-active"
WIDE_PIXELS, FRAME_PIXELS = 960, 580
_STYLE = f"""<style>
.{STALE} {{ opacity: 0.35; filter: grayscale(1); }}
.nanoshape .noUi-handle:focus-visible {{ outline: 3px solid #1b4f72; outline-offset: 2px; }}
.nanoshape-points {{ position: relative; overflow: visible; }}
.nanoshape-points > .jupyter-button {{ position: absolute; transform: translate(-50%, -50%); margin: 0; padding: 0;
  border-radius: 50%; border: 1px solid #444; font-size: 0; }}
.nanoshape .jupyter-button.{ACTIVE} {{ outline: 3px solid #111; outline-offset: 1px; z-index: 2; }}
</style>"""
# A slider's handle has no name of its own for a screen reader; it takes the one that is written beside it.
_NAMES = """(() => {
  const name = () => document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])").forEach((handle) => {
    const label = handle.closest(".widget-slider").querySelector(".widget-label")?.textContent.trim();
    if (label) handle.setAttribute("aria-label", label);
  });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
})();"""
# A single image is too little work to share: on a busy machine, waiting for other threads takes ten times longer.
one_thread = ThreadpoolController().wrap(limits=1)


def name_sliders() -> Javascript:
    """A script that gives every slider of the page the name that stands beside it; show it once in a notebook."""
    return Javascript(_NAMES)


def panel(*children: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """The style sheet that the widgets need, and widgets below each other."""
    return [ipywidgets.HTML(_STYLE, layout=ipywidgets.Layout(margin="0", height="0")), *children]


def row(*children: ipywidgets.Widget, width: str = "auto") -> ipywidgets.HBox:
    """Widgets side by side, each of at least this width, which go on in the next line where there is no room."""
    for child in children:
        child.layout.flex, child.layout.min_width = f"1 1 {width}", "0"
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", width="100%"))


class Latest:
    """Slow work in another thread, of which only the answer to the newest request is delivered.

    ``deliver`` gets a request and its answer, or the exception that ``work`` raised: in the event loop that ran when
    the request was made, or in the other thread if there was none.
    """

    def __init__(self, work: Callable[[Any], Any], deliver: Callable[[Any, Any], None]):
        self._work, self._deliver = work, deliver
        self._pool, self._newest = ThreadPoolExecutor(1), Future()

    def ask(self, request: Any) -> None:
        """Want this answer instead of any that was wanted before."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self._newest.cancel()
        self._newest = wanted = Future()
        self._pool.submit(self._run, wanted, request, loop)

    def wait(self) -> None:
        """Return when nothing is worked on any more."""
        self._pool.submit(int).result()

    def _run(self, wanted: Future, request: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        if wanted.cancelled():
            return
        try:
            answer = self._work(request)
        except Exception as error:
            answer = error
        if loop is None or loop.is_closed():
            self._hand_over(wanted, request, answer)
        else:
            loop.call_soon_threadsafe(self._hand_over, wanted, request, answer)

    def _hand_over(self, wanted: Future, request: Any, answer: Any) -> None:
        if not wanted.cancelled():
            self._deliver(request, answer)


class Simulated(NamedTuple):
    """A particle at rest, how it is turned, where the film ends below its middle [Å], and its exit wave."""

    atoms: Atoms
    rotation: np.ndarray
    film_below_A: float | None
    wave: np.ndarray


@lru_cache(maxsize=64)
def particle_wave(
    shape: Shape, film: bool, size_A: float, psi_deg: float, theta_deg: float, phi_deg: float, seed: int
) -> Simulated:
    """Exit wave, of fidelity fast, of a particle in the middle of the field; a KnobError if it does not fit there."""
    atoms, rotation = shapes.build(shape, size_A), orientation.euler(psi_deg, theta_deg, phi_deg)
    turned = atoms.copy()
    turned.positions = turned.positions @ rotation.T
    try:
        scene = deposit(shake(turned, np.random.default_rng(seed)), Placement(0) if film else None)
    except NanoshapeError:
        words = f"size is {size_A:g} Å, but the {shape.title}, turned like this, must fit the field of {FIELD_A:g} Å"
        raise KnobError(words, "size_A") from None
    return Simulated(atoms, rotation, scene.mid_plane_A if film else None, exit_wave(scene, Microscope(), "fast"))


class ExplorerModel:
    """One particle under one microscope, and what a network says of its images.

    Parameters
    ----------
    network
        A network and its card; by default the network of six blocks that is shipped.
    seed
        Of the thermal displacements and of the counting noise.
    **settings
        First values of any settings, see `nanoshape_lib.widgets.knobs.DEFAULTS`; refused as by `change`.
    """

    def __init__(self, network: tuple[nn.Module, dict] | None = None, seed: int = 0, **settings: Any):
        self.network, self.card = network or load_weights(data_file("weights/cnn6.safetensors"))
        self.seed, self.settings = seed, DEFAULTS
        self.change(**settings)

    def change(self, **settings: Any) -> None:
        """Give some settings new values; all stay as they were if a KnobError says that one is not allowed."""
        wanted = self.settings | {name: checked(name, value) for name, value in settings.items()}
        self.simulated = self.simulate(wanted)
        self.settings = wanted

    def simulate(self, settings: dict[str, Any]) -> Simulated:
        """The exit wave of other settings, which does not change the model; any thread may call it."""
        return particle_wave(**{name: settings[name] for name in WAVE_SETTINGS}, seed=self.seed)

    @one_thread
    def series(self, defoci_A: Sequence[float]) -> np.ndarray:
        """Images (N, n, n) in units of the incident intensity at N defoci [Å]; n is 128 for pixels of 1.0 Å."""
        return focal_series(self.simulated.wave, np.asarray(defoci_A), *instrument(self.settings), self.seed)

    def image(self) -> np.ndarray:
        """The image (n, n), indexed [x, y], in units of the incident intensity."""
        return self.series([self.settings["defocus_A"]])[0]

    @one_thread
    def predictions(self, images: np.ndarray) -> pd.DataFrame:
        """Probabilities of images (N, n, n), brought to pixels of 1.0 Å in Fourier space: a `predictions_table`."""
        for axis in (1, 2):
            if images.shape[axis] != IMAGE_PIXELS:
                images = resample(images, IMAGE_PIXELS, axis=axis)
        logits = predict(self.network, standardise(torch.as_tensor(images)))
        table = pd.DataFrame({"label": [int(self.settings["shape"])] * len(images)})
        return predictions_table(table, logits, self.card["temperature"])

    def unlike_training(self) -> list[str]:
        """Labels of the knobs that stand where the network has seen no images."""
        found = [] if self.settings["film"] else ["carbon film"]
        for name, (low, high) in seen(DatasetDesign.model_validate(self.card["profile"]["dataset"])).items():
            slack = KNOBS[name].step / 2
            if not low - slack <= self.settings[name] <= high + slack:
                found.append(KNOBS[name].label)
        return found


class Control(ipywidgets.VBox):
    """The entry of one setting, and a line for why its value is refused."""

    def __init__(self, name: str, value: Any, turned: Callable[[str, Any], None]):
        knob, looks = KNOBS.get(name), {"layout": {"width": "100%"}, "style": {"description_width": "11em"}}
        if name == "film":
            self.entry = ipywidgets.Checkbox(value, description=FILM_LABEL, indent=False)
        elif knob is None:
            self.entry = ipywidgets.Dropdown(options=[(shape.title, shape) for shape in Shape], description=name, **looks)
        elif knob.choices:
            options = [(f"{each:g}", each) for each in knob.choices]
            self.entry = ipywidgets.Dropdown(options=options, description=knob.title, tooltip=knob.note, **looks)
        else:
            kind = ipywidgets.FloatLogSlider if knob.logarithmic else ipywidgets.FloatSlider
            ends = np.array([knob.minimum, knob.maximum])
            looks["min"], looks["max"] = np.log10(ends) if knob.logarithmic else ends
            looks["readout_format"] = ".4~g" if knob.step < 1 else ".0f"
            self.entry = kind(value, step=knob.step, description=knob.title, tooltip=knob.note, **looks)
            self.entry.continuous_update = name not in WAVE_SETTINGS
        self.entry.value, self.reason = value, ipywidgets.HTML()
        super().__init__([self.entry, self.reason])
        self.entry.observe(lambda change: turned(name, change["new"]), "value")

    def refuse(self, why: str) -> None:
        """Say beside the control why its value cannot be; an empty reason takes it back."""
        self.reason.value = f'<span role="alert" style="color: #b3261e">{escape(why)}</span>' if why else ""


class Explorer(ipywidgets.VBox):
    """Knobs, the particle, its exit wave, its image and the network's probabilities; settings as of `ExplorerModel`.

    A knob of the microscope or of the camera forms a new image at once. A knob of the particle asks for a new
    exit wave in the background; until it is there the pictures are grey.
    """

    def __init__(self, **settings: Any):
        self.model = ExplorerModel(**settings)
        self.wanted = self.model.settings
        self.waves = Latest(self.model.simulate, self._arrived)
        names = ("shape", *KNOBS, "film")
        self.controls = {name: Control(name, self.model.settings[name], self._turned) for name in names}
        self.status, self.particle_view, self.image_view = (ipywidgets.HTML() for _ in range(3))
        self.pictures = ipywidgets.VBox([self.particle_view, self.image_view])
        columns = []
        for group in ("particle", "microscope", "camera"):
            members = [each for name, each in self.controls.items() if _group(name) == group]
            columns.append(ipywidgets.VBox([ipywidgets.HTML(f"<b>{group.capitalize()}</b>"), *members]))
        super().__init__(panel(row(*columns, width="22em"), self.status, self.pictures))
        self.add_class("nanoshape")
        self._show_particle()
        self._show_image()
        self._say("Turn a knob. The pictures answer only while a kernel is running.")

    def _turned(self, name: str, value: Any) -> None:
        """Form a new image, or ask for a new wave and show that the pictures are those of another particle."""
        start = time.perf_counter()
        self.wanted = self.wanted | {name: value}
        if name in WAVE_SETTINGS:
            self.pictures.add_class(STALE)
            self._say('Computing the exit wave … <progress aria-label="computing the exit wave"></progress>')
            self.waves.ask(self.wanted)
        else:
            self.model.settings = self.model.settings | {name: value}
            self._show_image()
            if STALE not in self.pictures._dom_classes:
                self._say(f"Done in {time.perf_counter() - start:.2f} s.")

    def _arrived(self, wanted: dict[str, Any], answer: Simulated | Exception) -> None:
        """Show a new wave, or why there is none."""
        self.pictures.remove_class(STALE)
        self.controls["size_A"].refuse("")
        if isinstance(answer, Exception):
            self.controls["size_A"].refuse(f"Not possible: {answer}.")
            self._say("There is no such particle. The pictures show the one before.")
            return
        self.model.simulated = answer
        self.model.settings = self.model.settings | {name: wanted[name] for name in WAVE_SETTINGS}
        self._show_particle()
        self._show_image()
        self._say("Done.")

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{text}</span>'

    def _show_particle(self) -> None:
        simulated, title = self.model.simulated, self.model.settings["shape"].title
        film = " on carbon, which the beam meets first" if self.model.settings["film"] else ""
        count, size_A = len(simulated.atoms), simulated.atoms.info["size_A"]
        words = f"{title.capitalize()} of {count} atoms; the nearest size at which it exists is {size_A:.1f} Å"
        alt = f"{title} of {count} atoms{film}, from the side and along the beam; amplitude and phase of its exit wave"
        self.particle_view.value = picture(draw.particle_and_wave(*simulated), alt, WIDE_PIXELS, words)

    def _show_image(self) -> None:
        model, defocus_A, truth = self.model, self.model.settings["defocus_A"], self.model.settings["shape"]
        image, (microscope, camera) = model.image(), instrument(model.settings)
        shares = model.predictions(image[None])[PROBABILITIES].to_numpy()[0]
        figure = draw.image_and_answer(image, shares, truth, defocus_A, microscope, camera)
        _, envelope = phase_transfer(np.array([1 / draw.GOLD_111_A]), defocus_A, microscope)
        said = ", ".join(f"{shape.title} {share:.0%}" for shape, share in zip(Shape, shares, strict=True))
        alt = (
            f"image of a {truth.title} at defocus {signed(defocus_A)} Å, its power spectrum, and the contrast transfer,"
            f" whose envelope has fallen to {envelope[0]:.0%} at the {{111}} planes of gold; probabilities: {said}"
        )
        words = (
            f"{len(image)} × {len(image)} pixels, {FIELD_A:g} Å wide; in their spectrum the ring of gold's {{111}} planes,"
            " if the camera's band holds it. Contrast transfer (solid), its coherence envelope (dashed) and the"
            " camera's transfer (dotted). The probabilities are calibrated: the network's logits are divided by"
            f" {model.card['temperature']:.2f}, a temperature fitted on validation images so that of those named with"
            " a probability of 90 %, about 90 % are named rightly."
        )
        unlike = ", ".join(model.unlike_training())
        if unlike:
            words += f" <b>It has not learned from images like this</b> ({unlike}): do not count on that here."
        self.image_view.value = picture(figure, alt, WIDE_PIXELS, words)


def _group(name: str) -> str:
    return KNOBS[name].group if name in KNOBS else "particle"


def focal_stack(model: ExplorerModel, defoci_A: Sequence[float]) -> ipywidgets.VBox:
    """A slider over images made beforehand, one for each of two or more defoci [Å]; it works without a kernel."""
    if len(defoci_A) < 2:
        raise NanoshapeError(f"defoci_A has {len(defoci_A)} values, but must have at least two")
    images, frames, words = model.series(defoci_A), [], [f"{signed(defocus_A)} Å" for defocus_A in defoci_A]
    for image, title, said in zip(images, words, model.predictions(images).to_dict("records"), strict=True):
        shares = [said[name] for name in PROBABILITIES]
        alt = f"image at defocus {title}; the network says {Shape(said['predicted']).title}, {max(shares):.0%}"
        figure = draw.frame(image, shares, model.settings["shape"], f"defocus {title}")
        frames.append(ipywidgets.HTML(picture(figure, alt, FRAME_PIXELS)))
    middle = len(defoci_A) // 2
    slider = ipywidgets.SelectionSlider(
        options=list(zip(words, range(len(words)), strict=True)), index=middle, description="defocus [Å]"
    )
    slider.style.description_width, slider.layout.width, slider.layout.max_width = "8em", "100%", "40em"
    stack = ipywidgets.Stack(frames, selected_index=middle)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])
