"""What a library remembers of people: profiles, what they said of tracks and played. `Library` inherits it."""

from collections.abc import Iterable

from soundkin.asking import Asked, Asking
from soundkin.record import Record, Track
from soundkin.record.feedback import DEFAULT_PROFILE, Feedback, Profile


class Noting(Asking):
    """Profiles of a library. All this goes on while another process scans."""

    def feedback(
        self,
        kind: str,
        queries: Iterable[Asked],
        profile: str = DEFAULT_PROFILE,
        at: float | None = None,
    ) -> list[Track]:
        """Remember what somebody said about tracks, or played; also while another process scans.

        Parameters
        ----------
        kind : str
            "like", "dislike", "unlike" (takes back either), "skip" or "play".
        queries : iterable of str, path-like or Track
            Which tracks.
        profile : str
            Who.
        at : float, optional
            When, seconds since 1970; default now.

        Returns
        -------
        list of Track
            What the queries name.

        Raises
        ------
        NotFound, Ambiguous
            A query names nothing, or several tracks; there is no such profile. Nothing is remembered then.
        InputError
            There is no such kind or time.
        """
        tracks = [query if isinstance(query, Track) else self.find(query) for query in queries]
        with Record.open_to_note(self.place) as record:
            record.add_feedback(profile, [track.id for track in tracks], kind, at)
        return tracks

    def history(self, profile: str = DEFAULT_PROFILE) -> list[Feedback]:
        """Return all that a profile said and did, oldest first; raise NotFound when there is no such profile."""
        return self._reader().feedback(profile)

    def profiles(self) -> list[Profile]:
        """Return every profile, the default one first."""
        return self._reader().profiles()

    def create_profile(self, name: str) -> str:
        """Make a profile and return its name as it is kept; raise InputError when it is unusable or taken."""
        with Record.open_to_note(self.place) as record:
            return record.create_profile(name)

    def delete_profile(self, name: str) -> int:
        """Forget a profile and all it said, and return how much that was; raise NotFound when there is none."""
        with Record.open_to_note(self.place) as record:
            return record.delete_profile(name)
