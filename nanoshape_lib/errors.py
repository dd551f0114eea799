"""The exceptions of the library: bad input, and time that is up."""


class NanoshapeError(ValueError):
    """Input that cannot be used; the message is one sentence that says what is allowed."""


class OutOfTime(NanoshapeError):
    """A long computation stopped where it was told to; the same call goes on from there."""
