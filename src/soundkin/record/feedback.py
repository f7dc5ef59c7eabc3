"""What people said about tracks, and what they played: kept per profile, with its history.

Nothing is ever changed here, only added: what a profile thinks of a track now is what it said last. Rows name
tracks by id, not by number, so that they outlive a track that is forgotten and comes back.
"""

import itertools
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

from soundkin.errors import InputError, NotFound
from soundkin.record.connection import Connection

DEFAULT_PROFILE = "default"
KINDS = ("like", "dislike", "unlike", "skip", "play")
OWNS = "/"
"""What stands between somebody and the name of a further profile of theirs."""
_LONGEST_NAME = 100
_CLOCKS_APART = 300.0  # seconds that the clock of another machine may be ahead


@dataclass(frozen=True, slots=True)
class Feedback:
    """One thing a profile said or did.

    Parameters
    ----------
    track : str
        Track id; the track may be gone from the library.
    kind : str
        One of `KINDS`. "unlike" takes back a like or a dislike.
    at : float
        When, seconds since 1970.
    """

    track: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Somebody who listens.

    Parameters
    ----------
    name : str
        Any text.
    created : float
        Seconds since 1970; 0.0 for the default profile that nobody has used yet.
    likes, dislikes : int
        Tracks that it likes or dislikes now.
    skips, plays : int
        How often it skipped or played a track.
    """

    name: str
    created: float
    likes: int
    dislikes: int
    skips: int
    plays: int


class Opinion(NamedTuple):  # not a dataclass: thousands are made for one recommendation, in half the time
    """What a profile thinks of a track now.

    Parameters
    ----------
    verdict : str
        "like", "dislike" or "": the last that was said.
    said : float
        When, seconds since 1970; 0.0 if nothing was.
    plays, skips : int
        How often.
    played, skipped : float
        When last, seconds since 1970; 0.0 for never.
    """

    verdict: str = ""
    said: float = 0.0
    plays: int = 0
    skips: int = 0
    played: float = 0.0
    skipped: float = 0.0


class NoProfile(NotFound):
    """Nobody has a profile of that name; the message tells of names that are near, which are not for everybody."""


class Heard(NamedTuple):
    """What somebody did with a track, over all time; see `FeedbackTables.heard`.

    Parameters
    ----------
    track : str
        Its id.
    verdict : str
        "like", "dislike" or "": the last that was said.
    plays, skips : int
        How often.
    at : float
        When anything was last, seconds since 1970.
    """

    track: str
    verdict: str
    plays: int
    skips: int
    at: float


def clean_name(name: str) -> str:
    """Return a profile's name as it is kept, or refuse it.

    Parameters
    ----------
    name : str
        What somebody typed.

    Returns
    -------
    str
        In composed Unicode, without space around it.

    Raises
    ------
    InputError
        It is empty, longer than 100 letters, or holds what is no text.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > _LONGEST_NAME:
        raise InputError(
            f"profile name {name[:40]!r}: wanted 1 to {_LONGEST_NAME} letters, got {len(cleaned)}"
        )
    odd = next((c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
    if odd is not None:
        raise InputError(f"profile name {name!r}: {odd!r} is no letter to name anybody by; leave it out")
    return cleaned


_COUNTED = """
    SELECT profile, kind, count(*) FROM feedback WHERE kind IN ('play', 'skip') AND ({mine}) GROUP BY profile, kind
    UNION ALL
    SELECT profile, kind, count(*) FROM (
        SELECT profile, kind, row_number() OVER (PARTITION BY profile, track ORDER BY at DESC, number DESC) AS back
        FROM feedback WHERE kind IN ('like', 'dislike', 'unlike') AND ({mine})
    ) AS said WHERE back = 1 GROUP BY profile, kind"""


def _under(owner: str) -> tuple[str, str, str]:
    return owner, f"{owner}{OWNS}", f"{owner}{chr(ord(OWNS) + 1)}"


class FeedbackTables(Connection):
    """The part of a record that holds profiles and feedback; see `Record`."""

    def profiles(self, owner: str | None = None) -> list[Profile]:
        """Return every profile, or those of somebody.

        Parameters
        ----------
        owner : str, optional
            Whose: the profile that is called so, and those under that name; default everybody's.

        Returns
        -------
        list of Profile
            The default one first, also when nobody has used it yet; the rest by name.
        """
        mine, values = "TRUE", tuple[str, ...]()
        if owner is not None:  # all that begins with "ana/" stands before "ana0", so the index finds it
            mine, values = "name = ? OR name > ? AND name < ?", _under(owner)
        with self._snapshot():
            created = dict(self._rows(f"SELECT name, created FROM profiles WHERE {mine}", values))
            rows = self._rows(_COUNTED.format(mine=mine.replace("name", "profile")), values * 2)
        if owner in (None, DEFAULT_PROFILE):
            created.setdefault(DEFAULT_PROFILE, 0.0)
        n = {(name, kind): count for name, kind, count in rows}
        return [
            Profile(
                name, created[name], *(n.get((name, kind), 0) for kind in ("like", "dislike", "skip", "play"))
            )
            for name in sorted(created, key=lambda name: (name != DEFAULT_PROFILE, name.casefold(), name))
        ]

    def create_profile(self, name: str) -> str:
        """Make a profile.

        Parameters
        ----------
        name : str
            Any text of 1 to 100 letters.

        Returns
        -------
        str
            The name as it is kept.

        Raises
        ------
        InputError
            The name is unusable, or taken.
        """
        name = clean_name(name)
        with self._note():
            if self._rows("SELECT 1 FROM profiles WHERE name = ?", (name,)):
                raise InputError(f"there is a profile {name!r} already: choose another name")
            self._db.execute("INSERT INTO profiles VALUES (?, ?)", (name, time.time()))
        return name

    def delete_profile(self, name: str) -> int:
        """Forget a profile and all it said; the default one is emptied.

        Parameters
        ----------
        name : str
            A profile.

        Returns
        -------
        int
            Number of rows of history forgotten.

        Raises
        ------
        NotFound
            There is no such profile.
        """
        name = self.profile(name)
        with self._note():
            self._db.execute("DELETE FROM profiles WHERE name = ?", (name,))
            return self._db.execute("DELETE FROM feedback WHERE profile = ?", (name,)).rowcount

    def profile(self, name: str) -> str:
        """Return the name of a profile as it is kept.

        Parameters
        ----------
        name : str
            What somebody typed; the default profile is always there.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        InputError
            It is no name.
        NotFound
            There is no such profile.
        """
        name = clean_name(name)
        if name == DEFAULT_PROFILE or self._rows("SELECT 1 FROM profiles WHERE name = ?", (name,)):
            return name
        known = [row[0] for row in self._rows("SELECT name FROM profiles")]
        near = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)[:3]
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise NoProfile(
            f"there is no profile {name!r}{hint}; `soundkin profile list` shows all, `profile create` makes one"
        )

    def add_feedback(self, profile: str, tracks: Iterable[str], kind: str, at: float | None = None) -> None:
        """Write down what a profile said or did; all of it or, after an error, nothing.

        Parameters
        ----------
        profile : str
            A profile.
        tracks : iterable of str
            Ids of tracks in the library.
        kind : str
            "like", "dislike", "unlike", "skip" or "play".
        at : float, optional
            When, seconds since 1970; default now.

        Raises
        ------
        InputError
            There is no such kind, or the time is not a number, negative, or still to come.
        NotFound
            There is no such profile or track.
        """
        if kind not in KINDS:
            raise InputError(f"feedback {kind!r}: wanted one of {', '.join(KINDS)}")
        when = time.time() if at is None else float(at)
        if not 0 <= when < 1e11:  # the year 5138: milliseconds are told from seconds
            raise InputError(f"feedback at {at!r}: wanted seconds since 1970")
        if when > time.time() + _CLOCKS_APART:
            told = datetime.fromtimestamp(when).isoformat(" ", "minutes")
            raise InputError(f"feedback at {told}, which is still to come: wanted a time that has been")
        name = self.profile(profile)
        with self._note(alone=False):
            if name == DEFAULT_PROFILE:
                self._db.execute(
                    "INSERT INTO profiles VALUES (?, ?) ON CONFLICT DO NOTHING", (name, time.time())
                )
            for track in tracks:
                if not self._rows("SELECT 1 FROM tracks WHERE id = ?", (track,)):
                    raise NotFound(f"no track has the id {track!r}: index it first")
                self._db.execute(
                    "INSERT INTO feedback (profile, track, kind, at) VALUES (?, ?, ?, ?)",
                    (name, track, kind, when),
                )

    def add_history(self, profile: str, history: Iterable[Feedback]) -> int:
        """Write down what a profile said elsewhere, but for what is known of it already.

        Parameters
        ----------
        profile : str
            A profile.
        history : iterable of Feedback
            In any order; their tracks need not be in the library.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        NotFound
            There is no such profile.
        """
        name = self.profile(profile)
        known = {(one.track, one.kind, round(one.at)) for one in self.feedback(profile)}
        new = [one for one in history if (one.track, one.kind, round(one.at)) not in known]
        with self._note():
            self._db.execute("INSERT INTO profiles VALUES (?, ?) ON CONFLICT DO NOTHING", (name, time.time()))
            self._db.executemany(
                "INSERT INTO feedback (profile, track, kind, at) VALUES (?, ?, ?, ?)",
                [(name, one.track, one.kind, one.at) for one in new],
            )
        return len(new)

    def add_events(self, events: Sequence[tuple[str, Feedback]]) -> int:
        """Write down single marks of many profiles, but for those that are known: of a track, to the second.

        Parameters
        ----------
        events : sequence of (str, Feedback)
            Names of profiles as `clean_name` gives them, which are made where there are none; and what they said.

        Returns
        -------
        int
            How many were new.
        """
        new = 0
        with self._note():
            self._make_profiles({name for name, _ in events})
            for name, one in events:
                row = name, one.track, one.kind, one.at
                new += self._db.execute(
                    "INSERT INTO feedback (profile, track, kind, at) SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 "
                    "FROM feedback WHERE profile = ? AND track = ? AND kind = ? AND at > ? AND at < ?)",
                    (*row, *row[:3], one.at - 1, one.at + 1),
                ).rowcount
        return new

    def add_counts(self, counts: Sequence[tuple[str, Feedback, int]]) -> int:
        """Write down how often profiles did something, where single times are not known.

        Parameters
        ----------
        counts : sequence of (str, Feedback, int)
            Names of profiles, what they did when last, and how often in all.

        Returns
        -------
        int
            How many marks were new: as many as were missing, each a second before the next.
        """
        new = 0
        with self._note():
            self._make_profiles({name for name, *_ in counts})
            for name, one, n in counts:
                (known,) = self._db.execute(
                    "SELECT count(*) FROM feedback WHERE profile = ? AND track = ? AND kind = ?",
                    (name, one.track, one.kind),
                ).fetchone()
                rows = [(name, one.track, one.kind, max(0.0, one.at - i)) for i in range(known, n)]
                self._db.executemany(
                    "INSERT INTO feedback (profile, track, kind, at) VALUES (?, ?, ?, ?)", rows
                )
                new += len(rows)
        return new

    def _make_profiles(self, names: Iterable[str]) -> None:
        rows = [(name, time.time()) for name in names]
        self._db.executemany("INSERT INTO profiles VALUES (?, ?) ON CONFLICT DO NOTHING", rows)

    def heard(self) -> Iterator[tuple[str, Heard]]:
        """Yield what every profile did with every track it has met, one row each, by profile and track."""
        rows = self._rows(
            "SELECT profile, track, kind, count(*), max(at) FROM feedback GROUP BY profile, track, kind "
            "ORDER BY profile, track"
        )
        for (profile, track), group in itertools.groupby(rows, lambda row: row[:2]):
            found = {kind: (n, at) for _, _, kind, n, at in group}
            said = max(
                ((found[k][1], k) for k in ("like", "dislike", "unlike") if k in found), default=(0.0, "")
            )
            plays, skips = (found.get(kind, (0, 0.0))[0] for kind in ("play", "skip"))
            verdict = said[1] if said[1] != "unlike" else ""
            yield profile, Heard(track, verdict, plays, skips, max(at for _, at in found.values()))

    def played(self) -> Iterator[tuple[str, str, float]]:
        """Yield every play of every profile: its name, the track, and when; by profile and time."""
        yield from self._rows(
            "SELECT profile, track, at FROM feedback WHERE kind = 'play' ORDER BY profile, at, number"
        )

    def busiest(self, plays: int) -> set[str]:
        """Return the profiles that played more than so many times on some day.

        Parameters
        ----------
        plays : int
            One second counts once, and so does what `add_counts` wrote of a track, a second apart: it may have been on
            other days.

        Returns
        -------
        set of str
            Their names.
        """
        rows = self._rows(
            "SELECT DISTINCT profile FROM feedback AS one WHERE kind = 'play' AND NOT EXISTS (SELECT 1 FROM feedback "
            "WHERE profile = one.profile AND track = one.track AND kind = 'play' AND at = one.at + 1) "
            "GROUP BY profile, CAST(at / 86400 AS INTEGER) HAVING count(DISTINCT CAST(at AS INTEGER)) > ?",
            (plays,),
        )
        return {row[0] for row in rows}

    def feedback(self, profile: str) -> list[Feedback]:
        """Return all that a profile said and did.

        Parameters
        ----------
        profile : str
            A profile.

        Returns
        -------
        list of Feedback
            By time; of one time in the order in which it came.

        Raises
        ------
        NotFound
            There is no such profile.
        """
        rows = self._rows(
            "SELECT track, kind, at FROM feedback WHERE profile = ? ORDER BY at, number",
            (self.profile(profile),),
        )
        return [Feedback(*row) for row in rows]

    def opinions(self, profile: str) -> dict[str, Opinion]:
        """Return what a profile thinks of each track it has met.

        Parameters
        ----------
        profile : str
            A profile.

        Returns
        -------
        dict of str to Opinion
            From track id; also of tracks that are gone from the library.

        Raises
        ------
        NotFound
            There is no such profile.
        """
        return self._opinions(self.profile(profile))

    def tracks_that_are(self, what: str, profile: str) -> list[str]:
        """Return the tracks that a filter asks for; much faster than `opinions`, of which it is a part.

        Parameters
        ----------
        what : str
            "liked", "disliked" or "played".
        profile : str
            A profile.

        Returns
        -------
        list of str
            Track ids; also of tracks that are gone from the library.

        Raises
        ------
        NotFound
            There is no such profile.
        """
        name = self.profile(profile)
        if what == "played":
            sql = "SELECT DISTINCT track FROM feedback WHERE profile = ? AND kind = 'play'"
            return [row[0] for row in self._rows(sql, (name,))]
        rows = self._rows(
            "SELECT track, kind FROM feedback "
            "WHERE profile = ? AND kind IN ('like', 'dislike', 'unlike') ORDER BY at, number",
            (name,),
        )
        verdicts = dict(rows)  # the last one stays
        return [track for track, kind in verdicts.items() if kind == what.removesuffix("d")]

    def _opinions(self, name: str) -> dict[str, Opinion]:
        rows = self._rows(
            "SELECT track, kind, count(*), max(at) FROM feedback "
            "WHERE profile = ? AND kind IN ('play', 'skip') GROUP BY track, kind",
            (name,),
        )
        heard: dict[str, list[Any]] = {}  # plays, skips, played, skipped
        for track, kind, n, last in rows:
            place = 0 if kind == "play" else 1
            heard.setdefault(track, [0, 0, 0.0, 0.0])[place::2] = n, last
        rows = self._rows(
            "SELECT track, kind, at FROM feedback "
            "WHERE profile = ? AND kind IN ('like', 'dislike', 'unlike') ORDER BY at, number",
            (name,),
        )
        said = {row[0]: row for row in rows}  # the last one stays
        never = (0, 0, 0.0, 0.0)
        known = {
            track: Opinion("" if kind == "unlike" else kind, at, *heard.get(track, never))
            for track, kind, at in said.values()
        }
        return known | {track: Opinion("", 0.0, *heard[track]) for track in heard if track not in said}
