"""A panel for files of one's own: choose one, and see its particles and what the network says of each."""

import tempfile
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from nanoshape_lib.micrographs.analysis import WEIGHTS, Explainer, analyse
from nanoshape_lib.micrographs.formats import FORMATS, display
from nanoshape_lib.micrographs.reading import load
from nanoshape_lib.micrographs.report import STYLE, section
from nanoshape_lib.trust.classifier import Classifier
from nanoshape_lib.widgets.explorer import STALE, Latest, panel, row, said


class Upload(ipywidgets.VBox):
    """Choose a file of a microscope and see the shapes of its particles, by default as the shipped network says."""

    def __init__(self, classifier: Classifier | None = None):
        self.classifier, self.work = classifier or Classifier(WEIGHTS), Latest(self._answer, self._arrived)
        self.explainer: Explainer | None = None  # made at the first file, and kept
        hint = "0: as the file says, or measured on the lattice of gold"
        self.file = ipywidgets.FileUpload(accept=",".join(FORMATS), description="choose a file")
        self.pixel_size = ipywidgets.FloatText(0.0, step=None, description="pixel size [Å]", tooltip=hint)
        self.pixel_size.style.description_width = "initial"
        self.status, self.view = ipywidgets.HTML(said("No file yet.")), ipywidgets.HTML()
        super().__init__(panel(row(self.file, self.pixel_size, ipywidgets.HTML(hint)), self.status, self.view))
        self.file.observe(self._ask, "value")
        self.pixel_size.observe(self._ask, "value")

    def _ask(self, _: Any) -> None:
        """Ask for the file as it is wanted now."""
        if self.file.value:
            name, content = self.file.value[-1]["name"], bytes(self.file.value[-1]["content"])
            self.view.add_class(STALE)
            self.status.value = said(f'Looking at {escape(name)} … <progress aria-label="analysing"></progress>')
            self.work.ask((name, content, self.pixel_size.value or None))

    def _answer(self, wanted: tuple[str, bytes, float | None]) -> str:
        """HTML about the particles in a file of this name and content, with pixels of this size [Å]."""
        name, content, pixel_size_A = wanted
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "image" + Path(name).suffix[:20])  # names may be too long for this machine
            path.write_bytes(content)
            micrograph = load(path, pixel_size_A, display(Path(name).name))
        self.explainer = self.explainer or Explainer(self.classifier)
        return section(analyse(micrograph, self.classifier, explainer=self.explainer))

    def _arrived(self, _: Any, answer: str | Exception) -> None:
        """Show the answer, or why there is none beside the answer before."""
        if isinstance(answer, Exception):
            why = " ".join(f"{each}." for each in (answer, *getattr(answer, "__notes__", ())))
            self.status.value = said(escape(f"Not possible: {why}"), "alert")
            return
        self.view.remove_class(STALE)
        self.status.value, self.view.value = said("Done."), f"<style>{STYLE}</style>{answer}"
