"""One file at a time: opened once, heard, described, and given to every encoder."""

import logging
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from soundkin.audio import DEFAULT_LISTENING, Excerpt, Hearing, Listening, hear
from soundkin.embed.files import content_hash
from soundkin.embed.values import Array, Embedded, Failure, Outcome, Same, Space, Task
from soundkin.encoders import Encoder, load_encoder
from soundkin.encoders.descriptors import Analysis, Description, analyse, describe
from soundkin.errors import DecodeError, ModelError
from soundkin.fingerprint import Piece, fingerprint, moments_of, pieces_of
from soundkin.tags import read

log = logging.getLogger(__name__)

T = TypeVar("T")

_SILENCE_DBFS = -80.0
# Excerpts are given to encoders together, up to so much sound: enough for large batches, and memory stays flat.
_SECONDS_AT_ONCE = 60.0
# How much of one track may wait to be encoded in another process. An hour of sound at 16 kHz takes 230 MB.
_MOST_SECONDS_ACROSS = 900.0

# One way of listening for all encoders of a run, or for some of them by name; the others hear as they do best.
Listenings = Listening | Mapping[str, Listening] | None


# What an encoder that runs in another process is to hear: how, and at which sample rate.
Elsewhere = Mapping[str, tuple[Listening, int | None]]


@dataclass
class Heard:
    """A file that was opened here, and is to be encoded in another process, too.

    Parameters
    ----------
    outcome : Embedded
        All but what the encoders elsewhere make of it.
    excerpts : dict
        Space id -> what its encoder is to hear.
    """

    outcome: Embedded
    excerpts: dict[str, list[Excerpt]]

    @property
    def seconds(self) -> float:
        """How much sound waits in it."""
        return _seconds(self.excerpts)


def _at(excerpt: Excerpt, rate: int) -> Excerpt:
    return Excerpt(excerpt.start, excerpt.at(rate), rate)


def _seconds(excerpts: Mapping[str, Sequence[Excerpt]]) -> float:
    return sum(len(e.samples) / e.rate for some in excerpts.values() for e in some)


class Embedder:
    """Encoders and a way of listening: what a run embeds with; `encoders` holds them by the ids of their `spaces`.

    Parameters
    ----------
    names : sequence of str
        Names or folders of encoders.
    listening : Listening, or mapping of str to Listening, optional
        How much of a track is heard: by all encoders, or by some of them by name; an encoder that is not named hears
        as it does best.
    device : str
        Where encoders run: "auto", "cpu", "cuda", ...
    elsewhere : mapping, optional
        Space id -> what an encoder in another process is to hear, and at which rate.

    Raises
    ------
    ModelError
        An encoder cannot be loaded, or none of them can use the device.
    """

    def __init__(
        self,
        names: Sequence[str],
        listening: Listenings = DEFAULT_LISTENING,
        device: str = "auto",
        elsewhere: Elsewhere | None = None,
    ) -> None:
        encoders = [load_encoder(name, device) for name in names]
        if (
            encoders
            and device not in ("auto", "cpu")
            and all(encoder.device == "cpu" for encoder in encoders)
        ):
            told = ", ".join(encoder.name for encoder in encoders)
            raise ModelError(
                f"device {device!r} was asked for, but {told} runs on the CPU only; wanted auto or cpu"
            )
        self.encoders: dict[str, Encoder] = {}
        self._spaces: dict[str, Space] = {}
        self.listenings: dict[str, Listening] = {}
        for name, encoder in zip(names, encoders, strict=True):
            heard = listening_of(name, listening, encoder.listening)
            space = space_of(encoder, heard)
            self.encoders[space.id] = encoder
            self.listenings[space.id] = heard
            self._spaces[space.id] = space
        self._elsewhere = dict(elsewhere or {})
        self.listenings |= {id_: heard for id_, (heard, _) in self._elsewhere.items()}
        every = list(self.listenings.values())
        # What is told of a track should not change with every encoder that joins.
        self._described = DEFAULT_LISTENING if DEFAULT_LISTENING in every else every[0]
        self._moments = moments_of(self._described)

    @property
    def spaces(self) -> list[Space]:
        """The spaces, in the order of the encoders."""
        return list(self._spaces.values())

    def file(self, task: Task) -> Outcome:
        """Embed one file.

        Parameters
        ----------
        task : Task
            What to embed.

        Returns
        -------
        Embedded, Same or Failure
            Never raises because of the file.
        """
        outcome = self.opened(task)
        assert not isinstance(outcome, Heard | None), "nothing is to be heard elsewhere"
        return outcome

    def opened(self, task: Task) -> Outcome | Heard | None:
        """Embed one file as far as that can be done here.

        Parameters
        ----------
        task : Task
            What to embed.

        Returns
        -------
        Embedded, Same, Failure, Heard or None
            `Heard` when encoders elsewhere are to hear it as well; None when that is too much to hand over.
        """
        return guarded(task, lambda: self._opened(task))

    def _opened(self, task: Task) -> Outcome | Heard | None:
        path = task.file.path
        content = content_hash(path)
        if content in task.known:
            return Same(task.file, content)
        wanted = [id_ for id_ in self.listenings if not task.lacking or id_ in task.lacking]
        with hear(path, self._described, *(self.listenings[id_] for id_ in wanted)) as hearing:
            result = Embedded(
                task.file, content, hearing.duration, hearing.rate, hearing.channels, hearing.format,
                read(path), Analysis(),
            )  # fmt: skip
            encoded = self._encode(hearing, wanted, result)
            if encoded is None:
                return None
            descriptions, pieces, heard = encoded
            result.fingerprint = fingerprint(pieces)
            result.damage = "; ".join(hearing.flaws)
        result.analysis = analyse(descriptions)
        if not descriptions:
            return Failure(task.file, "decode", "no excerpt of it can be decoded")
        if result.analysis.loudness is None or result.analysis.loudness < _SILENCE_DBFS:
            return Failure(
                task.file, "silent", f"no sound above {_SILENCE_DBFS:.0f} dBFS (NaN counts as silence)"
            )
        return Heard(result, heard) if heard else result

    def _encode(
        self, hearing: Hearing, wanted: Sequence[str], result: Embedded
    ) -> tuple[list[Description], list[Piece], dict[str, list[Excerpt]]] | None:
        """Let all encoders hear; return what describes the track, and what is to be heard elsewhere.

        None when that is more than can be handed over.
        """
        descriptions: list[Description] = []
        pieces: list[Piece] = []
        parts: dict[str, list[tuple[Array, Array]]] = {id_: [] for id_ in wanted if id_ in self.encoders}
        later: dict[str, list[Excerpt]] = {id_: [] for id_ in wanted if id_ in self._elsewhere}
        for listening, excerpts in _gathered(hearing.together):
            if listening == self._described:
                descriptions.extend(map(describe, excerpts))
                for excerpt in excerpts:
                    pieces.extend(pieces_of(excerpt, hearing.duration, self._moments))
            for id_ in wanted:
                if self.listenings[id_] != listening:
                    continue
                if id_ in parts:
                    parts[id_].extend(self.encoders[id_].windows_of(excerpts))
                else:
                    later[id_].extend(_at(e, self._elsewhere[id_][1] or e.rate) for e in excerpts)
                    if _seconds(later) > _MOST_SECONDS_ACROSS:
                        return None
        if not all([*parts.values(), *later.values()]):  # no encoder of a run may lack what another one has
            return [], [], {}
        self.put(result, parts)
        return descriptions, pieces, later

    def put(self, result: Embedded, parts: Mapping[str, Sequence[tuple[Array, Array]]]) -> None:
        """Add what encoders made of a track to what is known of it.

        Parameters
        ----------
        result : Embedded
            Is changed.
        parts : mapping
            Space id -> what `Encoder.windows_of` gave, in order of time.
        """
        for id_, part in parts.items():
            starts, rows = (np.concatenate(column) for column in zip(*part, strict=True))
            encoder = self.encoders[id_]
            result.windows[id_] = starts, rows
            result.vectors[id_] = encoder.pool(rows)
            result.ran[encoder.name] = f"{encoder.device}, {encoder.engine}"

    def together(self, waiting: Sequence[tuple[Task, Heard]]) -> list[tuple[Task, Outcome]]:
        """Encode what was heard of several tracks, in common batches.

        Parameters
        ----------
        waiting : sequence of (Task, Heard)
            Tracks that other processes opened.

        Returns
        -------
        list of (Task, Embedded or Failure)
            One for each. Should they fail together, each is tried alone, so that only what is bad fails.
        """
        if len(waiting) == 1:
            ((task, heard),) = waiting
            return [(task, guarded(task, lambda: self._all([heard])[0]))]
        try:
            outcomes = self._all([heard for _, heard in waiting])
            return [(task, outcome) for (task, _), outcome in zip(waiting, outcomes, strict=True)]
        except Exception as error:  # of the device, or of one of them: a batch does not say whose it was
            log.info("a batch of %d tracks failed, each is tried alone: %s", len(waiting), error)
            return [pair for one in waiting for pair in self.together([one])]

    def _all(self, heard: Sequence[Heard]) -> list[Embedded]:
        parts: list[dict[str, list[tuple[Array, Array]]]] = [{} for _ in heard]
        for id_, encoder in self.encoders.items():
            mine = [i for i, one in enumerate(heard) if id_ in one.excerpts]
            made = iter(encoder.windows_of([e for i in mine for e in heard[i].excerpts[id_]]) if mine else ())
            for i in mine:
                parts[i][id_] = list(islice(made, len(heard[i].excerpts[id_])))
        for one, part in zip(heard, parts, strict=True):
            self.put(one.outcome, part)
        return [one.outcome for one in heard]


def guarded(task: Task, work: Callable[[], T]) -> T | Failure:
    """Turn whatever goes wrong with a file into a `Failure`.

    Parameters
    ----------
    task : Task
        The file.
    work : callable
        What is done with it.

    Returns
    -------
    object or Failure
        What `work` returns.
    """
    try:
        return work()
    except FileNotFoundError:
        return Failure(task.file, "vanished", "the file is gone, or a link leads nowhere")
    except DecodeError as error:
        return Failure(task.file, "decode", str(error), "\n".join(getattr(error, "__notes__", ())))
    except MemoryError:
        return Failure(task.file, "decode", "decoding it takes more memory than a worker may have")
    except OSError as error:
        return Failure(task.file, "unreadable", error.strerror or str(error))
    except Exception as error:  # a bug, ours or a decoder's, costs the file that it shows in, not the scan
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Failure(task.file, "crash", f"a bug, please report it: {reason}", traceback.format_exc())


def _gathered(heard: Iterable[tuple[Listening, Excerpt]]) -> Iterator[tuple[Listening, list[Excerpt]]]:
    """Gather the excerpts of each way of listening, up to a minute of sound."""
    waiting: dict[Listening, list[Excerpt]] = defaultdict(list)
    for listening, excerpt in heard:
        waiting[listening].append(excerpt)
        if sum(len(e.samples) / e.rate for e in waiting[listening]) >= _SECONDS_AT_ONCE:
            yield listening, waiting.pop(listening)
    yield from waiting.items()


def listening_of(name: str, listening: Listenings, own: Listening) -> Listening:
    """Say how an encoder hears in a run, whose own way is `own`."""
    return listening if isinstance(listening, Listening) else (listening or {}).get(name, own)


def space_of(encoder: Encoder, listening: Listening) -> Space:
    """Name the space of an encoder that hears tracks in one way."""
    return Space(
        encoder.name, encoder.weights, encoder.front_end, round(encoder.window_seconds, 4),
        round(encoder.hop_seconds, 4), listening.name, encoder.pooling, encoder.dims,
    )  # fmt: skip
