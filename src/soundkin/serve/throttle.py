"""Makes guessing at passwords slow, and keeps nobody who knows theirs out for long.

What counts is a name from one network: a stranger who fails at a name has to wait, and its owner elsewhere does not.
Guesses at many names from one network, and at one name from many networks, are counted too, far more generously: NIST
SP 800-63B (section 5.2.2) allows a hundred failures in a row for an account. Who logs in is forgiven what they failed
at that name from that network, as it says there, and nothing else.
"""

import hashlib
import threading
import time
from contextlib import AbstractContextManager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from soundkin.record.database import engine_of

_MOST_KNOWN = 10_000
_DOUBLED = 64  # times at most: who tries for a day comes to numbers too large to be a power of two
_REMEMBERED = 3600.0  # seconds; longer than anybody has to wait
# One host has all the addresses of such a network.
_V6_BITS = 64


class Throttle:
    """Counts failures: after a few of them one has to wait, each time twice as long.

    Parameters
    ----------
    free : int
        So many failures cost nothing.
    longest : float
        Seconds to wait at most.
    """

    def __init__(self, free: int = 5, longest: float = 900.0) -> None:
        self._free, self._longest = free, longest
        self._failed: dict[str, tuple[int, float]] = {}
        self._guard = threading.Lock()

    def wait(self, who: str) -> float:
        """Return how many seconds somebody has to wait before they may try again."""
        return self._left(*self._failed.get(who, (0, 0.0)), time.monotonic())

    def _left(self, count: int, last: float, now: float) -> float:
        if count < self._free:
            return 0.0
        return max(0.0, last + min(2.0 ** min(count - self._free, _DOUBLED), self._longest) - now)

    def failed(self, who: str) -> None:
        """Note a failure."""
        now = time.monotonic()
        with self._guard:
            if len(self._failed) > _MOST_KNOWN:
                self._failed = {w: f for w, f in self._failed.items() if now - f[1] < self._longest}
            count, last = self._failed.get(who, (0, now))
            self._failed[who] = (count if now - last < _REMEMBERED else 0) + 1, now

    def passed(self, who: str) -> None:
        """Forget the failures of somebody."""
        with self._guard:
            self._failed.pop(who, None)


class SharedThrottle(Throttle):
    """One that many servers share, so that guessing at all of them is no faster than at one.

    Parameters
    ----------
    url : str
        Of the record.
    kind : str
        What is counted, to tell it from others.
    free, longest : int, float
        As for `Throttle`.
    """

    def __init__(self, url: str, kind: str, free: int = 5, longest: float = 900.0) -> None:
        super().__init__(free, longest)
        self._url, self._kind = url, kind

    def wait(self, who: str) -> float:
        """Return how many seconds somebody has to wait before they may try again."""
        with self._open() as db:
            sql = "SELECT failed, at FROM attempts WHERE who = ?"
            found = db.execute(sql, (self._key(who),)).fetchone()
        failed, at = found or (0, 0.0)
        return self._left(failed, at, time.time())

    def failed(self, who: str) -> None:
        """Note a failure, and forget those that nobody has to wait for any more."""
        now = time.time()
        with self._open() as db:
            db.execute("DELETE FROM attempts WHERE at < ?", (now - _REMEMBERED,))
            db.execute(
                "INSERT INTO attempts VALUES (?, 1, ?) "
                "ON CONFLICT (who) DO UPDATE SET failed = attempts.failed + 1, at = excluded.at",
                (self._key(who), now),
            )

    def passed(self, who: str) -> None:
        """Forget the failures of somebody."""
        with self._open() as db:
            db.execute("DELETE FROM attempts WHERE who = ?", (self._key(who),))

    def _open(self) -> AbstractContextManager[Any]:
        session: AbstractContextManager[Any] = engine_of(self._url).session(self._url)
        return session

    def _key(self, who: str) -> str:
        return hashlib.sha256(f"{self._kind}:{who}".encode("utf-8", "surrogatepass")).hexdigest()


def network_of(host: str) -> str:
    """Return what an address and its neighbours have in common: of IPv6 the first 64 bits, which are one customer's.

    Parameters
    ----------
    host : str
        Address of whoever asks.

    Returns
    -------
    str
        Anything that is no address, as it came.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((int(address), _V6_BITS), strict=False))
