"""What a library does with plays and taste: `Library` inherits it.

Here histories are opened, models kept and asked; how rows are matched stands in `plays`, what is learned in `taste`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin import plays
from soundkin.asking import Asked, Asking
from soundkin.embed import Space
from soundkin.recommend import Seeds
from soundkin.record import Record, Track
from soundkin.record.feedback import Heard
from soundkin.taste.adopting import train
from soundkin.taste.cold import has_any
from soundkin.taste.gathering import gather
from soundkin.taste.history import LIKE_WEIGHT, weight_of
from soundkin.taste.serving import SPACE, TasteOfOne
from soundkin.taste.training import FILE, Trained, load, save

FOLDER = "taste"
"""Of what was learned, in that of the library."""
_BACKGROUND = 1000  # tracks that say what scores are usual


class Tasting(Asking):
    """Plays and taste of a library."""

    _trained: tuple[int, Trained | None] | None = None  # with when it was written

    def import_plays(
        self,
        path: str | os.PathLike[str],
        profile: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> plays.PlaysReport:
        """Take in a history of another program: plays, skips, likes and dislikes of tracks that are here.

        Parameters
        ----------
        path : path-like
            A file in one of `plays.FORMATS`, of any size.
        profile : str, optional
            Whose it is, made when there is none; default as the history says, and where it does not, the default one.
        progress : callable, optional
            Called with the number of rows read, now and then.

        Returns
        -------
        PlaysReport
            What became of the rows. A second time nothing is new.

        Raises
        ------
        InputError
            The file cannot be read, is of no such format, or the profile has an unusable name.
        StoreError
            The disk is full, or the folder cannot be written.
        """
        rows = plays.read(path)
        matcher = plays.Matcher(self._reader().tracks())
        with Record.open_to_note(self.place) as writable:
            return plays.take(writable, matcher, rows, profile, _written(path), progress)

    def train_taste(
        self, method: str = "auto", seed: int = 0, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Learn from all plays and likes who likes what; nothing is embedded again.

        Parameters
        ----------
        method : str
            One of `taste.models.METHODS`, or "auto" to choose by size.
        seed : int
            Of what is drawn.
        progress : callable, optional
            Called with what is done, and of how much.

        Returns
        -------
        dict
            What was learned from, the weights of the parts, and how well each finds plays that were held out
            (nDCG@20). Tracks have vectors in the space ``taste`` then.

        Raises
        ------
        InputError
            Too little is known of who plays what.
        MissingExtra
            The method needs the extra ``cf``.
        StoreError
            Another process is writing, or the folder cannot be written.
        """
        gathered = gather(self._reader(), self.space())
        tracks, history = gathered.tracks, gathered.history
        learned, figures = train(history.plays, gathered.collection, method, seed, progress, history.latest)
        told = {
            "rows": history.rows, "height": history.plays.height, "entries": len(history.plays.items),
            "tracks": int((history.plays.listeners > 0).sum()), "bots": history.bots,
            "omnivores": history.omnivores, "weights": asdict(learned.weights),
            "by_sound": learned.guess.by_sound, "by_artist": learned.guess.by_artist, **figures,
        }  # fmt: skip
        numbers = np.array([int(track.id, 16) for track in tracks], np.uint64)
        has_vector = has_any(learned.guess.vectors)
        told["vectors"] = int(has_vector.sum())
        with Record.open(self.place, write=True) as writable:
            ids = [track.id for track, one in zip(tracks, has_vector, strict=True) if one]
            writable.replace_vectors(SPACE, ids, learned.guess.vectors[has_vector])
        save(Trained(numbers, gathered.collection.artists, learned, told), self.folder / FOLDER)
        self._held.renew()
        return told

    def _kept_taste(self) -> Trained | None:
        """Return what was learned from plays; None where nothing was. It is read again when it has changed."""
        try:
            stamp = (self.folder / FOLDER / FILE).stat().st_mtime_ns
        except OSError:
            return None
        known = self._trained
        if known is None or known[0] != stamp:
            known = self._trained = stamp, load(self.folder / FOLDER)
        return known[1]

    def why_no_taste(self, profile: str | None = None, likes: Sequence[Asked] = ()) -> str:
        """Say why taste has no part in what is recommended to somebody; "" where it has.

        Parameters
        ----------
        profile, likes
            As for `recommend`.
        """
        trained = self._kept_taste()
        if trained is None:
            return "nothing was learned from plays yet: soundkin taste train"
        weights = trained.taste.weights
        if not (weights.taste or weights.artist or weights.popularity):
            return "plays that were held out were found best by sound alone; train again when there are more"
        played = self._played(likes, profile)
        known = trained.taste.guess.trust > 0
        if not set(trained.numbers[known].tolist()) & set(played):
            return "nothing that is liked here was played by anybody"
        return ""

    def taste_status(self, profile: str | None = None) -> dict[str, Any]:
        """Say what was learned from plays, and whether it speaks to somebody.

        Parameters
        ----------
        profile : str, optional
            Who asks.

        Returns
        -------
        dict
            "learned", a bool; "why_not" as `why_no_taste` says it; where something was learned, what
            `train_taste` returned then; and "ranker": whether a learned order is "used", if not "why".

        Raises
        ------
        NotFound
            There is no such profile.
        """
        if profile is not None:
            self._reader().profile(profile)
        trained, why_not = self._kept_taste(), self.why_no_taste(profile)
        if trained is None:
            return {"learned": False, "why_not": why_not, "ranker": {"used": False, "why": why_not}}
        ranker = trained.taste.ranker
        before = {"why": "this was learned before there was one: soundkin taste train"}
        told = trained.told.get("ranker", before) | {"used": trained.taste.ranks}
        if ranker is not None and not trained.taste.ranks:
            told["why"] = (
                "it was learned by another version of Soundkin: soundkin taste train learns it again"
            )
        return {**trained.told, "learned": True, "why_not": why_not, "ranker": told}

    def _second(
        self, seeds: Seeds, likes: Sequence[Asked], profile: str | None, space: Space
    ) -> TasteOfOne | None:
        """Return what taste says to somebody; None where nothing was learned, or nothing of them is known."""
        trained = self._kept_taste()
        if trained is None or not seeds.likes:  # without likes `recommend` says what is missing
            return None
        record, usual = self._reader(), self.closeness(space)
        rows = record.sample(space.id, _BACKGROUND)
        rows = rows[rows.any(axis=1)]
        sounds = np.stack([query.vector for query in seeds.likes])
        known = np.array([query.is_known for query in seeds.likes])
        evidence = usual.evidence(rows, sounds, known)
        made = TasteOfOne(
            trained, self._played(likes, profile), _spread(evidence.sum(axis=1)), _spread(evidence.max(axis=1)),
            lambda n: _name(record.track(f"{n:016x}")),
        )  # fmt: skip
        return None if made.is_silent else made

    def _played(self, likes: Sequence[Asked], profile: str | None) -> dict[int, float]:
        """Return what somebody has played and liked, by the numbers of an index, with weights."""
        played = dict[int, float]()
        if profile is not None:
            for id_, said in self._reader().opinions(profile).items():
                heard = Heard(id_, said.verdict, said.plays, said.skips, 0.0)
                if (weight := weight_of(heard)) > 0:
                    played[int(id_, 16)] = weight
        for like in likes:
            if (track := self.named(like)) and track.id:  # a file from outside was played by nobody
                played[int(track.id, 16)] = LIKE_WEIGHT
        return played


def _spread(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), max(float(values.std()), 1e-6)


def _name(track: Track) -> str:
    return f"{track.artist} - {track.name}" if track.artist else track.name


def _written(path: str | os.PathLike[str]) -> float:
    """Return when a file was written; what it says without a time had been by then."""
    try:
        return Path(path).expanduser().stat().st_mtime
    except OSError:  # reading it says why
        return 0.0
