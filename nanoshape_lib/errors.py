"""The one exception that bad input to the library ends in."""


class NanoshapeError(ValueError):
    """Input that cannot be used; the message is one sentence that says what is allowed."""
