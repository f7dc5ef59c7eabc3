"""Folders of weights on the Hugging Face Hub: which files, and what the Hub says they hash to.

A branch of a repository moves, so a download begins with its listing: the commit it stands at, and of each file its
size and hash (sha256 of large ones, the name Git gives to small ones). Only weights, configuration and vocabulary are
taken; nothing that a repository calls code is ever fetched.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundkin.encoders import weights
from soundkin.encoders.weights import Progress, WeightFile
from soundkin.errors import ModelError

# Formats that hold tensors and nothing else come first; PyTorch's own is read without running its code.
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
_SMALL = frozenset({
    "config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.json", "merges.txt", "vocab.txt",
})  # fmt: skip
_LISTING_TRIES = 4


@dataclass(frozen=True)
class Hub:
    """A folder of weights on the Hub.

    Parameters
    ----------
    repository : str
        "organisation/name".
    revision : str
        A commit, a tag or a branch; "main" moves.
    pickled : bool
        Whether `pytorch_model.bin` will do where there are no safetensors.
    sha256 : tuple of (str, str)
        Names and hashes of files that are known here, whatever the Hub says.
    """

    repository: str
    revision: str = "main"
    pickled: bool = False
    sha256: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Where a person finds it."""
        return f"{_endpoint()}/{self.repository}/tree/{self.revision}"

    @property
    def folder(self) -> Path:
        """Where it goes in the cache."""
        revision = "" if self.revision == "main" else f"@{self.revision[:12].replace('/', '-')}"
        return weights.weights_folder() / "hub" / f"{self.repository.replace('/', '--')}{revision}"

    def is_here(self) -> bool:
        """Tell whether configuration and weights are in the cache, whole."""
        known = weights.read_manifest(self.folder)
        there = {name for name in known if weights.is_here(self._file(name))}
        return "config.json" in there and not there.isdisjoint(self._weights())

    def path_of(self, encoder: str) -> Path:
        """Return the folder in the cache; raise ModelError when it is not here, for `encoder`."""
        if not self.is_here():
            raise ModelError(
                f"the weights of {encoder} are not here: `soundkin encoders get {encoder}` fetches them, or download "
                f"the files of {self.url} and put them in place with `soundkin encoders add {encoder} FOLDER`"
            )
        return self.folder

    def get(self, encoder: str, progress: Progress | None = None) -> Path:
        """Fetch what is missing.

        Parameters
        ----------
        encoder : str
            Who needs it, for messages.
        progress : callable, optional
            As for `weights.get`.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ModelError
            As for `weights.get`; or the repository lacks weights in a format that is safe to read.
        """
        if not self.is_here():
            if weights.is_offline():
                raise ModelError(f"SOUNDKIN_OFFLINE is set, so nothing is fetched; {self.by_hand(encoder)}")
            # The weights come last: where they are, the rest is.
            for file in sorted(self.files(encoder), key=lambda f: f.published in (SAFE, PICKLED)):
                weights.get(encoder, file, progress)
        return self.path_of(encoder)

    def add(self, encoder: str, source: str | os.PathLike[str]) -> Path:
        """Take the files that somebody downloaded by hand.

        Parameters
        ----------
        encoder : str
            Who needs it, for messages.
        source : path-like
            A folder with `config.json` and `model.safetensors`, or with `pytorch_model.bin` where that will do; or one
            of these files, called as it is published, where `get` has fetched others.

        Returns
        -------
        Path
            The folder in the cache.

        Raises
        ------
        ModelError
            Something is missing, or has another hash than the one known here.
        """
        folder = Path(source).expanduser()
        if folder.is_file() and folder.name in (*_SMALL, *self._weights()):
            weights.add(encoder, [self._file(folder.name)], folder)
            return self.folder
        names = sorted(name for name in (*_SMALL, *self._weights()) if (folder / name).is_file())
        chosen = next((name for name in self._weights() if name in names), None)
        if "config.json" not in names or chosen is None:
            wanted = " or ".join(self._weights())
            raise ModelError(f"{folder} is no folder with config.json and {wanted}, as {self.url} has them")
        for name in names:
            if name not in self._weights() or name == chosen:
                weights.add(encoder, [self._file(name)], folder / name)
        return self.path_of(encoder)

    def check(self) -> str:
        """Compare the files in the cache with what they were when they came; see `weights.check`."""
        known = weights.read_manifest(self.folder)
        return ", ".join(dict.fromkeys(filter(None, (weights.check(self._file(name)) for name in known))))

    def files(self, encoder: str) -> list[WeightFile]:
        """Ask the Hub which files there are, and what they hash to.

        Parameters
        ----------
        encoder : str
            Who needs them, for messages.

        Returns
        -------
        list of WeightFile
            Configuration, vocabulary, and one file of weights.

        Raises
        ------
        ModelError
            The Hub cannot be reached, has no such repository, or has no weights in a format that is safe to read.
        """
        listing = _listing(self, encoder)
        entries = {str(e.get("path")): e for e in listing if e.get("type") == "file"}
        chosen = next((name for name in self._weights() if name in entries), None)
        if chosen is None:
            held = " but only pytorch_model.bin, which may hold code" if PICKLED in entries else ""
            raise ModelError(
                f"{self.repository} has no model.safetensors at {self.revision}{held}; ask for another one"
            )
        return [self._listed(entries[name]) for name in sorted({*_SMALL & entries.keys(), chosen})]

    def by_hand(self, encoder: str) -> str:
        """Say how to get the files without `get`."""
        return (
            f"download the files of {self.url} elsewhere, and then `soundkin encoders add {encoder} FOLDER`"
        )

    def _weights(self) -> tuple[str, ...]:
        return (SAFE, PICKLED) if self.pickled else (SAFE,)

    def _file(self, name: str, **known: Any) -> WeightFile:
        sha256 = dict(self.sha256).get(name) or known.get("sha256", "")
        url = f"{_endpoint()}/{self.repository}/resolve/{self.revision}/{name}"
        place = (self.folder / name).relative_to(weights.weights_folder()).as_posix()
        return WeightFile(place, url, known.get("size"), sha256, git_blob=known.get("git_blob", ""))

    def _listed(self, entry: dict[str, Any]) -> WeightFile:
        large = entry.get("lfs") or {}
        blob = "" if large else str(entry.get("oid", ""))
        return self._file(
            str(entry["path"]), size=int(entry["size"]), sha256=str(large.get("oid", "")), git_blob=blob
        )


def _endpoint() -> str:
    """Return the Hub, or the mirror of it that other tools are told of in the same way."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _listing(hub: Hub, encoder: str) -> list[dict[str, Any]]:
    import httpx

    from soundkin.encoders import fetching

    url = f"{_endpoint()}/api/models/{hub.repository}/tree/{hub.revision}"
    reason = ""
    with fetching.client() as http:
        for attempt in range(_LISTING_TRIES):
            try:
                answer = http.get(url)
                wait = fetching.busy_seconds(answer)
                if wait is None and answer.status_code == 200:
                    found = answer.json()
                    if isinstance(found, list) and all(isinstance(e, dict) for e in found):
                        return found
                    reason = "its listing cannot be read"
                    break
                reason = f"HTTP {answer.status_code}"
                if wait is None:
                    break
            except (httpx.HTTPError, ValueError) as error:
                wait, reason = 0.0, " ".join(str(error).split()) or type(error).__name__
            fetching.pause(max(wait, 2.0**attempt))
    doubt = "is there such a repository and revision? Or " if reason.startswith("HTTP 4") else ""
    raise ModelError(
        f"the files of {hub.repository} cannot be listed ({url}: {reason}); {doubt}{hub.by_hand(encoder)}"
    )
