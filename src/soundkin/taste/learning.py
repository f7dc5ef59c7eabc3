"""What is learned of a collection from its plays, as one object that scores for anybody."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from soundkin.taste.cold import NOBODY, Guess, directions, guess
from soundkin.taste.fusing import PERSON, Parts, Weights, standard
from soundkin.taste.matrix import Plays
from soundkin.taste.models import Model, Progress, fit
from soundkin.taste.ranker import Ranker

Array = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Collection:
    """What is known of tracks besides who plays them.

    Parameters
    ----------
    sound : float32 (n, d)
        Of unit length; 0 where there is none.
    artists, albums : int64 (n,)
        Numbers, `cold.NOBODY` where it is not known.
    """

    sound: Array
    artists: Ints
    albums: Ints


@dataclass(frozen=True)
class Taste:
    """What was learned.

    Parameters
    ----------
    model : Model
        Of who plays what.
    guess : Guess
        Taste vectors of all tracks.
    listeners : int64 (n,)
        How many rows have each track.
    weights : Weights
        Of the parts of a score.
    ranker : Ranker or None
        Who orders candidates in place of that score, where that was found to be better.
    """

    model: Model
    guess: Guess
    listeners: Ints
    weights: Weights = field(default_factory=Weights)
    ranker: Ranker | None = None

    @property
    def ranks(self) -> bool:
        """Whether there is a ranker that can be asked."""
        return self.ranker is not None and not self.ranker.is_stale

    def taste(self, items: Ints, weights: Array) -> Array:
        """Score all tracks by taste alone.

        Parameters
        ----------
        items : int64 (k,)
            What somebody has played.
        weights : float32 (k,)
            How much.

        Returns
        -------
        float32 (n,)
            z-scores. Of guessed tracks they are what the model would say: its scores of played ones, by a straight
            line through how near those are to the person.
        """
        scores = np.zeros(len(self.listeners), np.float32)
        is_played = self.listeners > 1
        if not len(items) or not is_played.any():
            return scores
        scores = self.model.scores(items, weights)
        direction = self.guess.vectors[items].T @ np.log1p(weights)
        near = self.guess.vectors @ direction.astype(np.float32)
        spread = near[is_played] - near[is_played].mean()
        said = scores[is_played] - scores[is_played].mean()
        slope = max(0.0, float(spread @ said) / max(float(spread @ spread), 1e-12))
        guessed = scores[is_played].mean() + slope * (near - near[is_played].mean())
        scores = np.where(is_played, scores, guessed)
        return (scores - scores[is_played].mean()) / max(float(scores[is_played].std()), 1e-12)

    def parts(self, sound: Array, items: Ints, weights: Array, artists: Ints) -> Parts:
        """Put together what is known of all tracks for somebody.

        Parameters
        ----------
        sound : float32 (n,)
            z-scores.
        items, weights : (k,)
            As for `taste`.
        artists : int64 (n,)
            As for `Collection`.

        Returns
        -------
        Parts
            For `fusing.fuse`.
        """
        plays = np.bincount(artists[items] + 1, weights, int(artists.max(initial=NOBODY)) + 2)
        plays[0] = 0  # of nobody
        known = (self.guess.trust[items] > 0).sum()
        return Parts(
            sound, self.taste(items, weights), standard(np.log1p(plays[artists + 1])),
            standard(np.log1p(self.listeners)), self.guess.trust, float(known / (known + PERSON)),
        )  # fmt: skip


def learn(
    plays: Plays, collection: Collection, method: str, seed: int = 0, progress: Progress | None = None
) -> Taste:
    """Learn who plays what, and what of it can be heard.

    Parameters
    ----------
    plays : Plays
        Of all tracks of the collection.
    collection : Collection
        The tracks.
    method : str
        One of `models.METHODS`.
    seed : int
        Of whatever is drawn.
    progress : callable, optional
        Called with what is done, and of how much.

    Returns
    -------
    Taste
        With the weights that stand as default.
    """
    model = fit(plays, method, seed, progress)
    known = directions(plays, model, seed)
    listeners = plays.listeners
    return Taste(
        model,
        guess(known, listeners, collection.sound, collection.artists, collection.albums, seed),
        listeners,
    )
