"""A panel for files of one's own: choose one, and see its particles and what the network says of each."""

import tempfile
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.analysis import WEIGHTS, Explainer, analyse
from nanoshape_lib.micrographs.formats import FORMATS
from nanoshape_lib.micrographs.report import STYLE, section
from nanoshape_lib.trust.classifier import Classifier
from nanoshape_lib.widgets.latest import Latest
from nanoshape_lib.widgets.parts import LABEL_WIDTH, OURS, STALE, style


class Uploaded(NamedTuple):
    """A file by its name and content, and the pixel size [Å] that the user gave, if any."""

    name: str
    content: bytes
    pixel_size_A: float | None


def answer(uploaded: Uploaded, classifier: Classifier) -> str:
    """HTML about the particles in a file.

    Raises
    ------
    NanoshapeError
        As :func:`nanoshape_lib.micrographs.analysis.analyse`, with the name of the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(uploaded.name).name)
        path.write_bytes(uploaded.content)
        try:
            found = analyse(path, classifier, uploaded.pixel_size_A, explainer=Explainer(classifier))
        except NanoshapeError as error:
            raise NanoshapeError(str(error).replace(f"{folder}/", "")) from None
    notes = tuple(note.replace(f"{folder}/", "") for note in found.micrograph.notes)
    found = replace(found, micrograph=replace(found.micrograph, notes=notes))
    return section(found)


class Upload(ipywidgets.VBox):
    """Choose a file of a microscope and see the shapes of its particles.

    The kernel stays free while a file is analysed, and the newest file wins.

    Parameters
    ----------
    classifier
        One network or several, with their calibrations; by default the shipped network trained with ranges.
    """

    def __init__(self, classifier: Classifier | None = None):
        self.classifier = classifier or Classifier(WEIGHTS)
        self.work: Latest[Uploaded, str] = Latest(lambda wanted: answer(wanted, self.classifier), self._arrived)
        self.uploaded: Uploaded | None = None
        self.file = ipywidgets.FileUpload(
            accept=",".join(FORMATS), description="choose a file", layout=ipywidgets.Layout(width="14em")
        )
        self.pixel_size = ipywidgets.FloatText(
            value=0.0,
            step=None,
            description="pixel size [Å]",
            tooltip="0: as the file says, or measured on the lattice of gold",
            style={"description_width": LABEL_WIDTH},
            layout=ipywidgets.Layout(width="18em"),
        )
        hint = ipywidgets.HTML("0: as the file says, or measured on the lattice of gold")
        self.status, self.view = ipywidgets.HTML(), ipywidgets.HTML()
        row = ipywidgets.HBox([self.file, self.pixel_size, hint], layout=ipywidgets.Layout(flex_flow="row wrap"))
        super().__init__([style(), row, self.status, self.view])
        self.add_class(OURS)
        self.file.observe(self._chosen, "value")
        self.pixel_size.observe(self._ask, "value")
        self._say("No file yet.")

    def _chosen(self, change: Any) -> None:
        if change["new"]:
            latest = change["new"][-1]
            self.uploaded = Uploaded(latest["name"], bytes(latest["content"]), None)
            self._ask()

    def _ask(self, change: Any = None) -> None:
        """Ask for the file as it is wanted now."""
        if self.uploaded is None:
            return
        size_A = self.pixel_size.value
        self.view.add_class(STALE)
        self._say(f'Looking at {escape(self.uploaded.name)} … <progress aria-label="analysing the file"></progress>')
        self.work.ask(self.uploaded._replace(pixel_size_A=size_A or None))

    def _arrived(self, wanted: Uploaded, said: str | Exception) -> None:
        """Show the answer, or why there is none beside the answer before."""
        if isinstance(said, Exception):
            self._say(f'<span style="color: #b3261e">Not possible: {escape(str(said))}.</span>')
            return
        self.view.remove_class(STALE)
        self.view.value = f"<style>{STYLE}</style>{said}"
        self._say("Done.")

    def _say(self, text: str) -> None:
        self.status.value = f'<span role="status">{text}</span>'
