"""Does a recommendation find what somebody likes and has not told? Feedback of a library, hidden and looked for.

The likes of a profile (where nothing is liked: what it played most, as `recommend` reads it) are dealt into folds. Each
question hides one fold, gives the others and the dislikes to `Library.recommend`, and looks for what was hidden among
all tracks that were not given. So what is judged is the answer that people get, index and all; only the rules of
variety, which forbid what is counted here, are left out, and counted in a row of their own.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soundkin.evaluate.collection import Collection
from soundkin.evaluate.labels import UNKNOWN
from soundkin.evaluate.pairs import Pairs
from soundkin.evaluate.protocols import LEAST_QUESTIONS, Task, Unmeasurable
from soundkin.evaluate.systems import System, bounds, scored
from soundkin.recommend import STRATEGIES, Variety, taste_of
from soundkin.recommend.variety import FREE

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

LEAST_LIKES, FOLDS = 5, 10
# More questions only take longer: the interval is that of the profiles.
MOST_QUESTIONS = 200
# Fewer profiles say nothing about people; then the folds are what is drawn again.
LEAST_PROFILES = 5
_FIGURES = ("NDCG@{k}", "P@1", "P@{k}", "recall@{k}", "hit@{k}")


@dataclass(frozen=True)
class Case:
    """A question: what somebody is known to like and dislike, and what is hidden.

    Parameters
    ----------
    profile : int
        Whose it is.
    likes, dislikes, hidden : int64
        Numbers of tracks.
    """

    profile: int
    likes: Ints
    dislikes: Ints
    hidden: Ints


def held_out(
    collection: Collection,
    profiles: Sequence[str],
    strategies: Sequence[str],
    k: int,
    seed: int,
    notes: list[str],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Task, list[System]]:
    """Ask what profiles like, of what they were found to like.

    Parameters
    ----------
    collection : Collection
        The tracks.
    profiles : sequence of str
        Whose likes; none for every profile.
    strategies : sequence of str
        Of `recommend.STRATEGIES`; none for all of them.
    k : int
        Length of a list.
    seed : int
        Of the folds.
    notes : list of str
        Gets a line for what must be known.
    progress : callable, optional
        Called with answers given and in all.

    Returns
    -------
    task : Task
        A question per fold.
    systems : list of System
        Every strategy in every space, and the baselines.

    Raises
    ------
    Unmeasurable
        Too little was liked or played.
    NotFound
        There is no such profile.
    """
    n = len(collection.tracks)
    liked = _opinions(collection, profiles)
    cases = _cases([own for own in liked if own.asked], seed)
    people = len({case.profile for case in cases})
    told = {"profiles": people, "likes_hidden": sum(len(case.hidden) for case in cases)}
    if len(cases) < LEAST_QUESTIONS:
        most = max((len(own.likes) for own in liked if own.asked), default=0)
        raise Unmeasurable(
            f"{most} tracks with vectors are liked, or played, by the profile that likes most; a figure that means "
            f"something needs {LEAST_QUESTIONS} of one profile, or {LEAST_LIKES} each of several: see `soundkin like`"
        )
    crowd = people >= LEAST_PROFILES
    groups = np.array([case.profile for case in cases]) if crowd else np.arange(len(cases))
    task = Task(
        "taste", "do recommendations find likes that were hidden?", np.arange(n), np.arange(len(cases)),
        lambda rows: _pairs([cases[i].hidden for i in rows]),
        lambda rows: _pairs([np.r_[cases[i].likes, cases[i].dislikes] for i in rows]),
        np.empty(0, np.int64), groups, told, _FIGURES,
    )  # fmt: skip
    notes.append(
        "each question hides a tenth of what a profile likes (or, where nothing is liked, played most), at least one "
        "track, and gives the rest; sum and average differ only where something is disliked"
    )
    if not crowd:
        notes.append(
            f"fewer than {LEAST_PROFILES} profiles cannot speak for people: intervals and p are of other likes of the "
            "same"
        )
    notes.append(
        "popularity is how many other profiles like a track; same artist counts the likes of its artist"
    )
    systems = _recommenders(collection, cases, strategies or STRATEGIES, k, progress)
    return task, [*systems, *_silent(collection, liked, cases)]


@dataclass(frozen=True)
class _Liked:
    """What a profile, by its number, likes and dislikes; whether it is asked about."""

    number: int
    likes: Ints
    dislikes: Ints
    asked: bool


def _opinions(collection: Collection, profiles: Sequence[str]) -> list[_Liked]:
    record = collection.record
    wanted = {record.profile(name) for name in profiles}  # says which there is not
    first = {track.content: i for i, track in enumerate(collection.tracks)}
    place = {track.id: first[track.content] for track in record.tracks() if track.content in first}
    out = []
    for number, profile in enumerate(record.profiles()):
        opinions = record.opinions(profile.name)
        now = max((max(o.said, o.played, o.skipped) for o in opinions.values()), default=0.0)
        taste = taste_of(opinions, now)
        likes = sorted({place[name] for name in taste.likes if name in place})
        dislikes = sorted({place[name] for name in taste.dislikes if name in place} - set(likes))
        asked = profile.name in wanted or not wanted
        out.append(_Liked(number, np.array(likes, np.int64), np.array(dislikes, np.int64), asked))
    return out


def _cases(liked: Sequence[_Liked], seed: int) -> list[Case]:
    """Deal the likes of each profile into folds; of too many, draw some."""
    rng = np.random.default_rng(seed)
    cases = []
    for own in liked:
        if len(own.likes) < LEAST_LIKES:
            continue
        order = rng.permutation(own.likes)
        folds = min(FOLDS, len(order))
        for fold in range(folds):
            hidden = order[fold::folds]
            cases.append(Case(own.number, np.setdiff1d(order, hidden), own.dislikes, hidden))
    some = np.sort(rng.permutation(len(cases))[:MOST_QUESTIONS])
    return [cases[i] for i in some]


def _recommenders(
    collection: Collection,
    cases: Sequence[Case],
    strategies: Sequence[str],
    k: int,
    progress: Callable[[int, int], None] | None,
) -> list[System]:
    """Let every strategy answer in every space; the first also as people see it, and it alone for the baseline."""
    wanted: list[tuple[str, str, str, Variety, bool]] = []
    for space in collection.spaces:
        name = collection.name(space)
        wanted += [(f"{name} {strategy}", space.id, strategy, FREE, False) for strategy in strategies]
        wanted.append((f"{name} {strategies[0]}, varied", space.id, strategies[0], Variety(), False))
    if collection.classical and collection.classical not in collection.spaces:
        space = collection.classical
        wanted.append((f"{space.encoder} {strategies[0]}", space.id, strategies[0], FREE, True))
    place = {track.id: i for i, track in enumerate(collection.tracks)}
    tracks, out = collection.tracks, []
    for number, (name, space_id, strategy, variety, baseline) in enumerate(wanted):
        lists = []
        for done, case in enumerate(cases, 1):
            hits = collection.library.recommend(
                [tracks[i] for i in case.likes], [tracks[i] for i in case.dislikes], None, k, strategy, None,
                space_id, variety,
            )  # fmt: skip
            lists.append(np.array([place[hit.id] for hit in hits if hit.id in place], np.int64))
            if progress:
                progress(number * len(cases) + done, len(wanted) * len(cases))
        out.append(scored(name, _by_place(lists, len(tracks)), baseline))
    return out


def _by_place(lists: Sequence[Ints], n: int) -> Callable[[Ints], Array]:
    """Score what is in a list by its place; the rest is not given as an answer."""

    def score(rows: Ints) -> Array:
        out = np.full((len(rows), n), -np.inf, np.float32)
        for row, i in enumerate(rows):
            out[row, lists[i]] = -np.arange(len(lists[i]), dtype=np.float32)
        return out

    return score


def _silent(collection: Collection, liked: Sequence[_Liked], cases: Sequence[Case]) -> list[System]:
    """Return the systems that do not listen."""
    n, artist = len(collection.tracks), collection.labels.artist
    everyone = np.bincount(np.concatenate([own.likes for own in liked]), minlength=n)
    own = {one.number: one.likes for one in liked}

    def popular(rows: Ints) -> Array:
        return np.stack([everyone - np.isin(np.arange(n), own[cases[i].profile]) for i in rows]).astype(
            np.float32
        )

    def same_artist(rows: Ints) -> Array:
        counts = [Counter(artist[cases[i].likes].tolist()) for i in rows]
        return np.array([[c[a] if a != UNKNOWN else 0 for a in artist.tolist()] for c in counts], np.float32)

    random, best = bounds(n)
    return [random, scored("popularity", popular, True), scored("same artist", same_artist, True), best]


def _pairs(numbers: Sequence[Ints]) -> Pairs:
    question = np.repeat(np.arange(len(numbers)), [len(each) for each in numbers])
    return Pairs(len(numbers), question, np.concatenate(numbers), np.ones(len(question)))
