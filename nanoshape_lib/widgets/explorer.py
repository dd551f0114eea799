"""Widgets: a live explorer for a notebook, and a focal series that moves without a kernel."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from html import escape
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from ase import Atoms
from IPython.display import Javascript
from scipy.signal import resample
from scipy.special import softmax
from threadpoolctl import ThreadpoolController
from torch import nn

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures import microscopy
from nanoshape_lib.figures.html import picture
from nanoshape_lib.figures.style import signed
from nanoshape_lib.networks.models import IMAGE_PIXELS, load_weights
from nanoshape_lib.networks.training import predict
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import data_file
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.film import Placement, turned_scene
from nanoshape_lib.simulation.imaging import focal_series, standardise
from nanoshape_lib.simulation.optics import Microscope
from nanoshape_lib.widgets.knobs import DEFAULTS, FILM_LABEL, KNOBS, WAVE_SETTINGS, checked, instrument, seen

STALE, ACTIVE = "nanoshape-stale", "nanoshape-active"
WIDE_PIXELS, FRAME_PIXELS = 960, 580
_STYLE = f"""<style>
.{STALE} {{ opacity: 0.35; filter: grayscale(1); }} .widget-html-content {{ line-height: 1.4; }}
.{ACTIVE}, .noUi-handle:focus-visible {{ outline: 3px solid #111; outline-offset: 1px; z-index: 2; }}
.nanoshape-points {{ position: relative; overflow: visible; }}
.nanoshape-points > .jupyter-button {{ position: absolute; transform: translate(-50%, -50%); margin: 0; padding: 0;
  border-radius: 50%; border: 1px solid #444; font-size: 0; }}
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


def said(text: str, role: str = "status") -> str:
    """HTML that a screen reader says when it changes; as an alert, why something is not possible."""
    return f'<span role="{role}" style="color: {"#b3261e" if role == "alert" else "inherit"}">{text}</span>'


def panel(*children: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """Widgets after the style sheet that they need."""
    return [ipywidgets.HTML(_STYLE, layout={"margin": "0", "height": "0"}), *children]


def row(*children: ipywidgets.Widget, width: str = "auto") -> ipywidgets.HBox:
    """Widgets side by side, each of at least this width, which go on in the next line where there is no room."""
    for child in children:
        child.layout.flex, child.layout.min_width = f"1 1 {width}", "0"
    return ipywidgets.HBox(children, layout={"flex_flow": "row wrap", "width": "100%"})


class Latest:
    """Slow work in another thread; ``deliver`` gets the newest request and its answer or error, in the event loop."""

    def __init__(self, work: Callable[[Any], Any], deliver: Callable[[Any, Any], None]):
        self._work, self._deliver, self._newest = work, deliver, object()
        self.pool = ThreadPoolExecutor(1)

    def ask(self, request: Any) -> None:
        """Want this answer instead of any that was wanted before."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        self._newest = wanted = object()

        def hand_over(answer: Any) -> None:
            if wanted is self._newest:
                self._deliver(request, answer)

        def run() -> None:
            if wanted is self._newest:
                try:
                    answer = self._work(request)
                except Exception as error:
                    answer = error
                loop.call_soon_threadsafe(hand_over, answer) if loop else hand_over(answer)

        self.pool.submit(run)


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
    """Exit wave, of fidelity fast, of a particle in the middle of the field; refused if it does not fit there."""
    atoms, rotation = shapes.build(shape, size_A), orientation.euler(psi_deg, theta_deg, phi_deg)
    try:
        scene = turned_scene(atoms, rotation, Placement(0) if film else None, np.random.default_rng(seed))
    except NanoshapeError:
        words = f"size is {size_A:g} Å, but the {shape.title}, turned like this, must fit the field of {FIELD_A:g} Å"
        raise NanoshapeError(words) from None
    return Simulated(atoms, rotation, scene.mid_plane_A if film else None, exit_wave(scene, Microscope(), "fast"))


class ExplorerModel:
    """One particle under one microscope, and what a network says of its images.

    ``network`` is one with its card, by default the shipped one of six blocks; settings are those of `knobs.DEFAULTS`.
    """

    def __init__(self, network: tuple[nn.Module, dict[str, Any]] | None = None, seed: int = 0, **settings: Any):
        self.network, self.card = network or load_weights(data_file("weights/cnn6.safetensors"))
        self.seed, self.settings = seed, DEFAULTS
        self.change(**settings)

    def change(self, **settings: Any) -> None:
        """Give some settings new values; all stay as they were if one is refused."""
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
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, 5) of images (N, n, n), brought to pixels of 1.0 Å in Fourier space."""
        for axis in (1, 2):
            if images.shape[axis] != IMAGE_PIXELS:
                images = resample(images, IMAGE_PIXELS, axis=axis)
        logits = predict(self.network, standardise(torch.as_tensor(images)))
        return softmax(logits / self.card["temperature"], axis=1)

    def unlike_training(self) -> list[str]:
        """Labels of the knobs that stand where the network has seen no images."""
        ranges = seen(DatasetDesign.model_validate(self.card["profile"]["dataset"]))
        known = [(KNOBS[name], self.settings[name], *ends) for name, ends in ranges.items()]
        outside = [k.label for k, value, low, high in known if not low - k.step / 2 <= value <= high + k.step / 2]
        return outside if self.settings["film"] else ["carbon film", *outside]


def _entry(name: str, value: Any) -> ipywidgets.ValueWidget:
    """A slider with its number, a list or a box for one setting."""
    knob, looks = KNOBS.get(name), {"value": value, "style": {"description_width": "11em"}, "layout": {"width": "98%"}}
    if name == "film":
        return ipywidgets.Checkbox(value, description=FILM_LABEL, indent=False)
    if knob is None:
        return ipywidgets.Dropdown(options=[(shape.title, shape) for shape in Shape], description=name, **looks)
    looks |= {"description": knob.title, "tooltip": knob.note}
    if knob.choices:
        return ipywidgets.Dropdown(options=[(f"{each:g}", each) for each in knob.choices], **looks)
    kind = ipywidgets.FloatLogSlider if knob.logarithmic else ipywidgets.FloatSlider
    ends = np.array([knob.minimum, knob.maximum])
    looks["min"], looks["max"] = np.log10(ends) if knob.logarithmic else ends
    looks["readout_format"] = ".0f" if knob.logarithmic or knob.step >= 1 else ".2f"
    return kind(step=knob.step, continuous_update=name not in WAVE_SETTINGS, **looks)


class Explorer(ipywidgets.VBox):
    """Knobs, particle, exit wave, image and probabilities, live; settings as of `ExplorerModel`."""

    def __init__(self, **settings: Any):
        self.model = ExplorerModel(**settings)
        self.wanted, self.waves = self.model.settings, Latest(self.model.simulate, self._arrived)
        self.controls = {name: _entry(name, value) for name, value in self.wanted.items()}
        self.status, self.refusal, self.particle_view, self.image_view = (ipywidgets.HTML() for _ in range(4))
        self.pictures = ipywidgets.VBox([self.particle_view, self.image_view])
        columns: dict[str, list] = {"particle": [], "microscope": [], "camera": []}
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._turned(name, change["new"]), "value")
            columns["particle" if name in WAVE_SETTINGS else KNOBS[name].group].append(control)
        columns["particle"].insert(2, self.refusal)  # below the size
        boxes = [
            ipywidgets.VBox([ipywidgets.HTML(f"<b>{title.capitalize()}</b>"), *each]) for title, each in columns.items()
        ]
        super().__init__(panel(row(*boxes, width="22em"), self.status, self.pictures))
        self._show_particle()
        self._show_image()
        self.status.value = said("Turn a knob. The pictures answer only while a kernel is running.")

    def _turned(self, name: str, value: Any) -> None:
        """Form a new image, or ask for a new wave and show that the pictures are those of another particle."""
        self.wanted = self.wanted | {name: value}
        if name in WAVE_SETTINGS:
            self.pictures.add_class(STALE)
            self.status.value = said('Computing the exit wave … <progress aria-label="computing"></progress>')
            self.waves.ask(self.wanted)
        else:
            self.model.settings = self.model.settings | {name: value}
            self._show_image()

    def _arrived(self, wanted: dict[str, Any], answer: Any) -> None:
        """Show a new wave, or why there is none."""
        self.pictures.remove_class(STALE)
        failed = isinstance(answer, Exception)
        self.refusal.value = said(escape(f"Not possible: {answer}."), "alert") if failed else ""
        self.status.value = said("The pictures show the particle before." if failed else "Done.")
        if not failed:
            self.model.simulated = answer
            self.model.settings = self.model.settings | {name: wanted[name] for name in WAVE_SETTINGS}
            self._show_particle()
            self._show_image()

    def _show_particle(self) -> None:
        simulated, title = self.model.simulated, self.model.settings["shape"].title
        alt = f"{title}{' on carbon' * self.model.settings['film']}, from the side and along the beam; its exit wave"
        count, size_A = len(simulated.atoms), simulated.atoms.info["size_A"]
        words = f"{title.capitalize()} of {count} atoms; the nearest size at which it exists is {size_A:.1f} Å"
        self.particle_view.value = picture(microscopy.particle_and_wave(*simulated), alt, WIDE_PIXELS, words)

    def _show_image(self) -> None:
        model, defocus_A, truth = self.model, self.model.settings["defocus_A"], self.model.settings["shape"]
        image, (microscope, camera) = model.image(), instrument(model.settings)
        shares = model.probabilities(image[None])[0]
        figure = microscopy.image_and_answer(image, shares, truth, defocus_A, microscope, camera)
        named = ", ".join(f"{shape.title} {share:.0%}" for shape, share in zip(Shape, shares, strict=True))
        alt = f"image of a {truth.title} at defocus {signed(defocus_A)} Å, its power spectrum, the contrast transfer"
        unlike = ", ".join(model.unlike_training())
        words = (
            f"{len(image)} × {len(image)} pixels, {FIELD_A:g} Å wide; in their spectrum the ring of gold's {{111}}"
            " planes, if the camera holds it. Contrast transfer (solid), its coherence envelope (dashed), the camera's"
            " transfer (dotted). The probabilities are calibrated: the network's logits are divided by"
            f" {model.card['temperature']:.2f}, a temperature fitted on validation images so that of those named with"
            " a probability of 90 %, about 90 % are named rightly."
        ) + f" <b>It has not learned from images like this ({unlike}): do not count on that here.</b>" * bool(unlike)
        self.image_view.value = picture(figure, f"{alt}, and the probabilities: {named}", WIDE_PIXELS, words)


def focal_stack(model: ExplorerModel, defoci_A: Sequence[float]) -> ipywidgets.VBox:
    """A slider over images made beforehand, one for each of two or more defoci [Å]; it works without a kernel."""
    if len(defoci_A) < 2:
        raise NanoshapeError(f"defoci_A has {len(defoci_A)} values, but must have at least two")
    images, frames, words = model.series(defoci_A), [], [f"{signed(defocus_A)} Å" for defocus_A in defoci_A]
    for image, title, shares in zip(images, words, model.probabilities(images), strict=True):
        alt = f"image at defocus {title}; the network says {Shape(int(shares.argmax())).title}, {shares.max():.0%}"
        figure = microscopy.frame(image, shares, model.settings["shape"], f"defocus {title}")
        frames.append(ipywidgets.HTML(picture(figure, alt, FRAME_PIXELS)))
    looks = {"description": "defocus [Å]", "style": {"description_width": "initial"}, "layout": {"width": "98%"}}
    slider = ipywidgets.SelectionSlider(options=words, index=len(words) // 2, **looks)
    stack = ipywidgets.Stack(frames, selected_index=slider.index)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])
