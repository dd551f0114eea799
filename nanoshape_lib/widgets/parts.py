"""What the widgets share: knobs that say why they refuse a value, layouts, and names for sliders."""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from IPython.display import Javascript

from nanoshape_lib.widgets.knobs import Knob

OURS = "nanoshape"
STALE = "nanoshape-stale"
KNOB = "nanoshape-knob"
POINTS = "nanoshape-points"
MATRIX = "nanoshape-matrix"
LABEL_WIDTH = "11em"

_STYLE = f"""<style>
.{OURS} .widget-html-content {{ line-height: 1.35; }}
.{STALE} {{ opacity: 0.35; filter: grayscale(1); }}
.{POINTS} {{ position: relative; overflow: visible; }}
.{POINTS} > .jupyter-button {{ position: absolute; transform: translate(-50%, -50%); margin: 0; padding: 0;
  border-radius: 50%; border: 1px solid #444; line-height: 1; font-size: 0; }}
.{POINTS} > .jupyter-button.mod-active {{ outline: 3px solid #111; outline-offset: 1px; z-index: 2; }}
.{MATRIX} .jupyter-button {{ text-overflow: clip; }}
.{MATRIX} .widget-html-content {{ overflow-wrap: anywhere; }}
.{KNOB} .noUi-handle:focus-visible {{ outline: 3px solid #1b4f72; outline-offset: 2px; }}
</style>"""

# A slider's handle has no name of its own for a screen reader; it takes the one that is written beside it.
_NAMES = """
(() => {
  if (window.nanoshapeNames) return;
  const name = () => {
    for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])")) {
      const row = handle.closest(".%s") ?? handle.closest(".widget-slider");
      const labels = row.querySelectorAll(".widget-label");
      const text = [...labels].map((label) => label.textContent.trim()).find(Boolean);
      if (text) handle.setAttribute("aria-label", text);
    }
  };
  window.nanoshapeNames = new MutationObserver(name);
  window.nanoshapeNames.observe(document.body, { childList: true, subtree: true });
  name();
})();
"""


def name_sliders() -> Javascript:
    """A script that gives every slider of the page the name that stands beside it; show it once in a notebook."""
    return Javascript(_NAMES % KNOB)


def style() -> ipywidgets.HTML:
    """The style sheet that the widgets need, invisible."""
    return ipywidgets.HTML(_STYLE, layout=ipywidgets.Layout(margin="0", height="0"))


class Control(ipywidgets.VBox):
    """An entry with its label, a slider for it if it is a number, and a line for the reason of a refusal.

    Parameters
    ----------
    name
        Name of the knob.
    entry
        What holds the value.
    turned
        Called with the name and the new value whenever it changes.
    slider, knob
        A slider for the same number, and its knob.
    """

    def __init__(
        self,
        name: str,
        entry: ipywidgets.ValueWidget,
        turned: Callable[[str, Any], None],
        slider: ipywidgets.ValueWidget | None = None,
        knob: Knob | None = None,
    ):
        self.name, self.entry, self.slider = name, entry, slider
        self._turned, self._knob, self._sliding = turned, knob, False
        self.reason = ipywidgets.HTML(layout=ipywidgets.Layout(display="none"))
        both = [entry] if slider is None else [entry, slider]
        super().__init__([ipywidgets.HBox(both, layout=wrapping()), self.reason])
        self.add_class(KNOB)
        entry.observe(self._entered, "value")
        if slider is not None:
            slider.observe(self._slid, "value")

    def _slid(self, change: Any) -> None:
        self._sliding = True
        self.entry.value = float(f"{change['new']:.4g}")
        self._sliding = False

    def _entered(self, change: Any) -> None:
        value, knob = change["new"], self._knob
        if self.slider is not None and knob and not self._sliding and knob.minimum <= value <= knob.maximum:
            self.slider.value = value
        self._turned(self.name, value)

    def refuse(self, why: str) -> None:
        """Say beside the control why its value cannot be; an empty reason takes it back."""
        self.reason.value = f'<span role="alert" style="color: #b3261e">{escape(why)}</span>' if why else ""
        self.reason.layout.display = None if why else "none"


def number_control(knob: Knob, value: float, turned: Callable[[str, Any], None], live: bool) -> Control:
    """A number to type and a slider, or a list if the knob has choices; ``live`` sliders answer while they move."""
    labelled: dict[str, Any] = {"description": knob.title, "style": {"description_width": LABEL_WIDTH}}
    labelled["layout"] = ipywidgets.Layout(width="16.5em")
    if knob.note:
        labelled["tooltip"] = knob.note
    if knob.choices:
        options = [(f"{choice:g}", choice) for choice in knob.choices]
        return Control(knob.name, ipywidgets.Dropdown(options=options, value=value, **labelled), turned)
    entry = ipywidgets.FloatText(value=value, step=knob.step, **labelled)
    ends = (knob.minimum, knob.maximum)
    if knob.logarithmic:
        entry.step = None
        ends = (float(np.log10(knob.minimum)), float(np.log10(knob.maximum)))
    kind = ipywidgets.FloatLogSlider if knob.logarithmic else ipywidgets.FloatSlider
    slider = kind(
        value=value,
        min=ends[0],
        max=ends[1],
        step=knob.step,
        readout=False,
        continuous_update=live,
        layout=ipywidgets.Layout(flex="1 1 6em", width="auto", min_width="6em"),
    )
    return Control(knob.name, entry, turned, slider, knob)


def wrapping() -> ipywidgets.Layout:
    """A row that goes on in the next line where there is no room."""
    return ipywidgets.Layout(flex_flow="row wrap", width="100%")


def shared(width: str = "19em", grow: int = 1) -> ipywidgets.Layout:
    """A column that shares a row, or has one of its own where it would be too narrow."""
    return ipywidgets.Layout(flex=f"{grow} 1 {width}", min_width="0", padding="0 0.6em 0.6em 0")
