"""The errors Soundkin raises: one root, few kinds.

Every message is one line that says what came, what was wanted and what to do. The command prints that line and exits
with `exit_status`; anything that is not a `SoundkinError` is our own bug.
"""


class SoundkinError(Exception):
    """Root of every error Soundkin raises on purpose."""

    exit_status = 1


class InputError(SoundkinError):
    """An argument is unusable: a bad filter, an empty array, a wrong shape."""


class DecodeError(SoundkinError):
    """A file is not audio that can be decoded."""


class ModelError(SoundkinError):
    """An encoder is unknown, or its weights are missing or damaged."""


class StoreError(SoundkinError):
    """The record or the index cannot be read or written: locked, full, damaged, of another space."""


class NotFound(SoundkinError):
    """A query names nothing the library has."""


class MissingExtra(SoundkinError):
    """A feature needs an optional dependency that is not installed."""
