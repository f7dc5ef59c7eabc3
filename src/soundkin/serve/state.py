"""What the routes share: one library to ask, one to browse, workers, and accounts."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, Query, Request

from soundkin.embed import cores
from soundkin.errors import InputError, NotFound, SoundkinError, StoreError
from soundkin.index import IndexLocked
from soundkin.library import Library
from soundkin.recommend import Variety
from soundkin.record import Record
from soundkin.record.feedback import DEFAULT_PROFILE, OWNS, NoProfile, Profile, clean_name
from soundkin.serve.accounts import Accounts
from soundkin.serve.jobs import Jobs
from soundkin.serve.media import Media
from soundkin.serve.models import VarietyRules
from soundkin.serve.pool import Busy, Ears
from soundkin.serve.scanning import Scanning

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 2  # questions at once: the index answers one at a time, and threads more than that only wait
_WAITING_UPLOADS = 8
_LOOK_SECONDS = 1.0  # how long a new user may stay unseen
_AGAIN_SECONDS = 60.0  # after which a profile that could not be written is tried again
# How long the status, which looks at every file, is not asked for again: and for so many times what it took.
_SECONDS, _PATIENCE = 10.0, 20


class State:
    """All that one server holds.

    Parameters
    ----------
    folder : path-like
        The library.
    music : sequence of str
        Folders that a scan looks into.
    needs_login : bool
        Whether to want a login though there is no user.
    **shared
        Where what many servers share is: `record`, `qdrant` and `api_key` of `Library.open`.
    """

    def __init__(self, folder: str | Path, music: Sequence[str], needs_login: bool, **shared: Any) -> None:
        self.ears = Ears(max(1, cores() // 2), _WAITING_UPLOADS)
        self.library = Library.open(folder, listener=self.ears.listen, **shared)
        # Lists take their time at a large library: with a connection of their own no question waits for them.
        self.browser = Library.open(folder, **shared)
        self.accounts = Accounts(self.library.place)
        self.media = Media(self.library.folder / "cache")
        self.scanning = Scanning(self.library, music, self.after_scan)
        self.jobs = Jobs(self.library.opened_with)
        self.by_both = self.accounts.throttle("name from a network")
        self.by_network = self.accounts.throttle("network", free=50, longest=60.0)
        self.by_name = self.accounts.throttle("name", free=100, longest=60.0)
        self.logins = anyio.Semaphore(1)  # one password is stretched at a time: each takes a core and 32 MB
        self.closing = asyncio.Event()  # for answers that never end by themselves
        self.uploads = 0
        self._needs_login = needs_login
        self._looked: tuple[float, bool] = (float("-inf"), False)
        self._welcomed: dict[str, float] = {}  # until when there is nothing to do for a user
        self._asking, self._browsing = anyio.CapacityLimiter(_THREADS), anyio.CapacityLimiter(2)
        self._listening = anyio.CapacityLimiter(_WAITING_UPLOADS)
        self._status: tuple[float, Any] = (0.0, None)

    # ---- running what blocks

    async def ask(self, what: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call what asks the library, in a thread; once more if its index was renewed just then."""
        try:
            return await anyio.to_thread.run_sync(partial(what, *args, **named), limiter=self._asking)
        except StoreError:
            return await anyio.to_thread.run_sync(partial(what, *args, **named), limiter=self._asking)

    async def browse(self, what: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call a method of the browser, in a thread that questions do not need."""
        return await anyio.to_thread.run_sync(partial(what, *args, **named), limiter=self._browsing)

    async def listen(self, what: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call a method of the library that waits for a worker to embed something."""
        return await anyio.to_thread.run_sync(partial(what, *args, **named), limiter=self._listening)

    def begin_upload(self) -> None:
        """Take a place among the uploads, or raise Busy."""
        if self.uploads >= _WAITING_UPLOADS:
            raise Busy(f"{self.uploads} uploads are being listened to already: try again in a moment")
        self.uploads += 1

    def end_upload(self) -> None:
        """Give the place back."""
        self.uploads -= 1

    # ---- who asks

    async def open_now(self) -> bool:
        """Tell whether nobody needs to log in: on one's own machine, while there is no user."""
        if self._needs_login:
            return False
        at, known = self._looked
        if time.monotonic() - at > _LOOK_SECONDS:
            known = not await anyio.to_thread.run_sync(self.accounts.any)
            self._looked = time.monotonic(), known
        return known

    def welcome(self, user: str) -> None:
        """See to it that a user who logs in, or whose program asks, has a profile of their own."""
        if time.monotonic() < self._welcomed.get(user, float("-inf")):
            return
        until = float("inf")
        try:
            if not self._has_profile(
                user
            ):  # asked first: who writes waits for a scan, and may not be allowed to
                with suppress(InputError):  # somebody was faster
                    self.browser.create_profile(user)
        except NotFound:  # nothing is indexed yet: that costs nothing to see at the next request
            return
        except SoundkinError as error:
            log.warning("no profile for a user: %s", error)
            until = time.monotonic() + _AGAIN_SECONDS
        self._welcomed[user] = until

    def _has_profile(self, name: str) -> bool:
        with Record.open(self.library.place) as record:
            try:
                record.profile(name)
            except NoProfile:
                return False
        return True

    def profiles(self, user: str | None) -> list[Profile]:
        """Return the profiles of a user, or all where nobody has to log in."""
        with Record.open(self.library.place) as record:
            return record.profiles(user)

    def delete_profile(self, user: str | None, kept: str) -> None:
        """Forget a profile; the one that is called like its user is emptied, for they always have it."""
        self.browser.delete_profile(kept)
        if kept == user:
            self._welcomed.pop(user, None)
            self.welcome(user)

    # ---- after changes

    def status(self) -> Any:
        """Return the status of the library, at most ten seconds old; where it takes long, as old as that is worth."""
        until, known = self._status
        begin = time.monotonic()
        if known is None or begin > until:
            known = self.browser.status()
            now = time.monotonic()
            self._status = now + max(_SECONDS, _PATIENCE * (now - begin)), known
        return known

    def after_scan(self) -> None:
        """Bring everything up to date when a scan of ours has ended."""
        self._status = (0.0, None)
        threading.Thread(target=self._tidy, name="soundkin-tidy", daemon=True).start()

    def _tidy(self) -> None:
        try:
            self.library.tidy()
        except IndexLocked as error:  # another process builds it already
            log.info("%s", error)
        except SoundkinError as error:
            log.warning("%s", error)

    def close(self) -> None:
        """Stop the workers and let go of the library."""
        self.scanning.close()
        self.jobs.close()
        self.media.close()
        self.ears.close()
        self.library.close()
        self.browser.close()


def state_of(request: Request) -> State:
    """Return what the routes share, for `fastapi.Depends`."""
    shared: State = request.app.state.shared
    return shared


Shared = Annotated[State, Depends(state_of)]


def user_of(request: Request) -> str | None:
    """Return who makes a `request`, for `fastapi.Depends`; None where nobody has to log in."""
    user: str | None = request.scope.get("soundkin.user")
    return user


User = Annotated[str | None, Depends(user_of)]
ProfileParameter = Annotated[str | None, Query(max_length=100)]


def profile_of(request: Request, named: str | None = None) -> str:
    """Return whose taste counts, as the record calls it: the one that is `named`, or who makes the `request`."""
    return kept_name(user_of(request), named)


def kept_name(user: str | None, named: str | None) -> str:
    """Return what the record calls a profile that `user` calls `named`.

    To a user, names lead to profiles of their own only: the one that is called like them, and those that the record
    has under their name. Without a login every profile of the library can be named.
    """
    if user is None or not named:
        return named or user or DEFAULT_PROFILE
    name = clean_name(named)
    return user if name == user else f"{user}{OWNS}{name}"


def shown_name(user: str | None, kept: str) -> str | None:
    """Return what `user` calls a profile of the record; None when it is not theirs."""
    if user is None or kept == user:
        return kept
    owner, owns, name = kept.partition(OWNS)
    return name if owner == user and owns else None


def variety_of(rules: VarietyRules | None) -> Variety | None:
    """Return rules of variety as the library takes them."""
    return None if rules is None else Variety(**rules.model_dump())


def asked_of(library: Library, queries: Iterable[str]) -> list[Any]:
    """Find the tracks that queries name; a request names tracks and words, never paths."""
    return [library.find(query, files=False) for query in queries]
