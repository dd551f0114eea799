"""The panel for files of one's own, without a browser."""

import io
from datetime import datetime
from html import escape

import numpy as np
import pytest

from nanoshape_lib.micrographs.analysis import WEIGHTS
from nanoshape_lib.trust.classifier import Classifier
from nanoshape_lib.widgets.upload import Upload


@pytest.fixture(scope="module")
def panel():
    return Upload(Classifier(WEIGHTS))


def _give(panel, name, content):
    """Choose a file as a browser does, and wait for the answer."""
    panel.file.value = [
        {
            "name": name,
            "type": "",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(),
        }
    ]
    panel.work.pool.submit(int).result(120)


def test_a_file_is_answered_and_a_bad_one_says_why_and_keeps_the_answer(panel, micrograph):
    buffer = io.BytesIO()
    np.save(buffer, micrograph.images[0])
    panel.pixel_size.value = micrograph.pixel_size_A
    _give(panel, "mine.npy", buffer.getvalue())
    shown = panel.view.value
    assert shown.count('<th scope="row">') == len(micrograph.truth) and "<h2>mine.npy" in shown
    assert "Done" in panel.status.value and "/tmp" not in shown

    _give(panel, "bad.dm4", b"")
    assert "Not possible: bad.dm4 is empty" in panel.status.value
    assert panel.view.value == shown

    panel.pixel_size.value = 3.0
    panel.work.pool.submit(int).result(120)
    panel.pixel_size.value = micrograph.pixel_size_A


@pytest.mark.parametrize("name", ["金" * 100 + ".npy", "x" * 300 + ".npy", "$a_$ & b.npy"])
def test_names_of_any_length_and_kind_are_taken(panel, micrograph, name):
    buffer = io.BytesIO()
    np.save(buffer, micrograph.images[0])
    panel.pixel_size.value = micrograph.pixel_size_A
    _give(panel, name, buffer.getvalue())
    assert "Done" in panel.status.value and f"<h2>{escape(name)}</h2>" in panel.view.value
    _give(panel, name, buffer.getvalue()[:1000])
    assert f"Not possible: {escape(name)} is no readable NumPy file" in panel.status.value


def test_names_cannot_break_the_panel_or_leave_the_folder(panel, tmp_path):
    _give(panel, "../../<b>evil.dm4", b"x")
    assert "<b>" not in panel.status.value and "Not possible" in panel.status.value
