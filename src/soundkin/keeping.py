"""The encoders of a library: those that come with the package, and those of its own, kept in its folder."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from soundkin.audio import DEFAULT_LISTENING, WHOLE, Listening
from soundkin.embed import Embedder, Space
from soundkin.encoders import DEFAULT, FOLDER_FILES, find
from soundkin.errors import ModelError
from soundkin.scan import printable
from soundkin.spaces import own_space, spaces_of

# What was heard by default before. Nobody asked for it: an encoder of a newer version, which hears everything anew
# anyway, hears as it does best now. One that is what it was goes on as it began.
_FORMER_DEFAULT = Listening(16, 3.07)


class Encoders:
    """What a library hears with.

    Parameters
    ----------
    folder : Path
        Of the library.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "encoders"
        self._embedders: dict[str, Embedder] = {}

    def source(self, name: str) -> str:
        """Return what `embed.Embedder` takes for an encoder with that `name`."""
        if found := find(name):
            return found[1].name
        home = self._folder / name
        return os.fspath(home) if home.is_dir() else name

    def makes(self, space: Space) -> bool:
        """Tell whether an encoder that is here makes vectors of a `space`."""
        try:
            listening = Listening.named(space.listening)
            return spaces_of([self.source(space.encoder)], listening) == [space]
        except ModelError:
            return False

    def embedder(self, space: Space) -> Embedder:
        """Return what embeds into a `space`, made once; see `Library.embedder`."""
        if space.id not in self._embedders:
            made = Embedder([self.source(space.encoder)], Listening.named(space.listening))
            if made.spaces[0].id != space.id:
                raise of_another_version(space)
            self._embedders[space.id] = made
        return self._embedders[space.id]

    def settings(
        self, active: Sequence[Space], encoders: Sequence[str], listening: Listening | None
    ) -> tuple[list[str], dict[str, Listening]]:
        """Say what a scan embeds with; an encoder that is a folder elsewhere is kept.

        Parameters
        ----------
        active : sequence of Space
            What scans fill.
        encoders, listening
            As in `ScanOptions`.

        Returns
        -------
        sources : list of str
            Names or folders of the encoders.
        listenings : dict of str to Listening
            How those hear that do not hear as they do best.
        """
        heard = {space.encoder: Listening.named(space.listening) for space in active}
        # An encoder that comes in a new version has the name of the one the library has: both are one folder here.
        sources = {self._keep(name): self._name(name) for name in [*heard, *encoders] or [DEFAULT]}
        if listening == DEFAULT_LISTENING:
            return list(sources), {}
        if listening is not None:
            return list(sources), dict.fromkeys(sources, listening)
        whole = bool(heard) and set(heard.values()) == {WHOLE}  # then a new encoder hears all, too
        kept = {
            space.encoder for space in active if heard[space.encoder] != _FORMER_DEFAULT or self.makes(space)
        }
        listenings = {
            source: heard.get(name, WHOLE) for source, name in sources.items() if whole or name in kept
        }
        return list(sources), listenings

    def _name(self, name: str) -> str:
        """Return what an encoder is called in spaces."""
        if found := find(name):
            return found[1].name
        return own_space(self.source(name)).encoder

    def _keep(self, name: str) -> str:
        """Copy an encoder folder into the library, so that it can be queried wherever the original goes."""
        if find(name) or not (Path(name) / "encoder.json").is_file():
            return self.source(name)
        called = own_space(name).encoder
        if find(called):
            raise ModelError(
                f"the encoder in {printable(name)} is called {called!r} like a built-in one: give it another name "
                "in its encoder.json"
            )
        home = self._folder / called
        if Path(name).resolve() != home.resolve():
            home.mkdir(parents=True, exist_ok=True)
            for part in FOLDER_FILES:  # training leaves gigabytes of cache beside them
                shutil.copy(Path(name) / part, home)
        return os.fspath(home)


def of_another_version(space: Space) -> ModelError:
    """Return the error that says so of the encoder of a `space`."""
    return ModelError(
        f"the vectors of {space.id} were made by another version of {space.encoder!r}; "
        "index the library again to bring them up to date"
    )
