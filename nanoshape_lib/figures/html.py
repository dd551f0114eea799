"""Parts of a page that are HTML, not figures of matplotlib."""

from html import escape

RESULT_TWINS = {
    "s1": "Accuracy against the number of training images: choose a point for its trainings",
    "s2": "Confusion matrices of figure S2: choose a field for its trainings, and for examples of the mistake",
    "s4": "Failures of figure S4: choose an image to see it large, with all five probabilities",
}


def result_twin(name: str) -> str:
    """HTML of the live twin of figure ``"s1"``, ``"s2"`` or ``"s4"`` on a page of the book."""
    title = escape(RESULT_TWINS[name])
    return (
        f'<section class="play twin" data-twin="{name}" aria-label="{title}">'
        f"<p>{title}. This part needs JavaScript and the book around it; the figure above does not.</p>"
        '</section><script defer src="../_static/play/result-twins.js"></script>'
    )
