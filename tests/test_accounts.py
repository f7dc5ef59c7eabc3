"""Who is removed while they log in: nothing of them stays, in files and in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import PATIENCE, quick_passwords, until

from soundkin.errors import NotFound
from soundkin.serve import accounts as module
from soundkin.serve.accounts import Accounts

NAME, PASSWORD = "ana", "long enough"


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with quick_passwords():
        yield


@pytest.fixture
def accounts(new_place):
    made = Accounts(new_place())
    made.add(NAME, PASSWORD)
    return made


def left_behind(accounts):
    with accounts._open() as db:
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in ("sessions", "tokens")]


@pytest.mark.parametrize("again", [False, True])
def test_who_is_removed_while_the_password_is_stretched_is_not_let_in(accounts, again, monkeypatch):
    stretch = module._stretched

    def slowly(password, salt):
        """Stretch it, in the time that somebody needs to remove the user, and to add them with another password."""
        monkeypatch.setattr(module, "_stretched", stretch)
        key = stretch(password, salt)
        accounts.remove(NAME)
        if again:
            accounts.add(NAME, "another one")
        return key

    monkeypatch.setattr(module, "_stretched", slowly)
    assert accounts.log_in(NAME, PASSWORD) is None
    assert left_behind(accounts) == [[], []]


def waiting(accounts):
    """Tell whether somebody waits for another; SQLite does not say, and lets only one in at a time."""
    if isinstance(accounts._place, Path):
        return True
    with accounts._open() as db:
        sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return db.execute(sql).fetchone() is not None


def test_to_look_for_somebody_makes_no_file(tmp_path):
    nobody = Accounts(tmp_path)
    assert (nobody.users(), nobody.any(), nobody.empty(), nobody.playlists()) == ([], False, True, [])
    assert (nobody.of_session("a"), nobody.of_token("b"), nobody.log_in(NAME, PASSWORD)) == (None, None, None)
    assert list(tmp_path.iterdir()) == []
    nobody.keep_playlist("first", ["0"])
    assert [one.name for one in nobody.playlists()] == ["first"]


def token(accounts):
    try:
        accounts.token(NAME, "player")
    except NotFound:
        return None


@pytest.mark.parametrize("come", [lambda accounts: accounts.log_in(NAME, PASSWORD), token])
def test_who_comes_in_while_they_are_removed_leaves_nothing_behind(accounts, come):
    with ThreadPoolExecutor(1) as pool:
        with accounts._open() as db:  # as `remove` does it
            db.execute("DELETE FROM users WHERE name = ?", (NAME,))
            coming = pool.submit(come, accounts)
            until(lambda: waiting(accounts), PATIENCE)
            for table in ("tokens", "sessions"):
                db.execute(f'DELETE FROM {table} WHERE "user" = ?', (NAME,))
        assert coming.result() is None
    assert left_behind(accounts) == [[], []]


def test_what_began_before_they_are_removed_is_taken_along(accounts, monkeypatch):
    """The session is there and not yet committed when its user is removed."""
    hashed = module._hash
    with ThreadPoolExecutor(1) as pool:
        removing = []

        def slowly(secret):
            """Hash it, which `log_in` does after it made sure of the user; meanwhile, somebody removes them."""
            monkeypatch.setattr(module, "_hash", hashed)
            removing.append(pool.submit(accounts.remove, NAME))
            until(lambda: waiting(accounts), PATIENCE)
            return hashed(secret)

        monkeypatch.setattr(module, "_hash", slowly)
        name, secret = accounts.log_in(NAME, PASSWORD)
        removing[0].result()
    assert name == NAME
    assert accounts.of_session(secret) is None
    assert left_behind(accounts) == [[], []]
