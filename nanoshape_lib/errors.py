"""The exceptions of the library: bad input, and time that is up."""

import contextlib
from collections.abc import Iterable, Iterator


class NanoshapeError(ValueError):
    """Input that cannot be used; the message is one sentence that says what is allowed."""


class OutOfTime(NanoshapeError):
    """A long computation stopped where it was told to; the same call goes on from there."""


@contextlib.contextmanager
def noting(notes: Iterable[str]) -> Iterator[None]:
    """Let bad input that is met here carry the warnings before it, in ``__notes__``."""
    try:
        yield
    except NanoshapeError as error:
        for note in notes:
            error.add_note(note)
        raise
