import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundkin.errors import InputError
from soundkin.filters import And, Filter, HasId, Match, Not, Or, Range, clean_text, glob, matches, parse

KNOWN = {
    "genre": {"Samba": 3, "salsa": 1, "Salsa": 2, "Metal": 9},
    "artist": ["Chayanne", "Earth, Wind & Fire", "ABBA", "Wind", "Bj\u00f6rk"],
    "key": ["A minor", "C major"],
    "title": [],
}


def read(*texts: str) -> Filter | None:
    return parse(texts, lambda field: KNOWN.get(field, ()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("genre=samba", Match("genre", ("Samba",))),
        (" Genre = SAMBA ", Match("genre", ("Samba",))),
        ("genre=salsa", Match("genre", ("salsa", "Salsa"))),
        ("genre=metal, samba", Match("genre", ("Metal", "Samba"))),
        ("key=a MINOR", Match("key", ("A minor",))),
        ("artist!=chayanne", Not(Match("artist", ("Chayanne",)))),
        ("artist!=chayanne,abba", Not(Match("artist", ("Chayanne", "ABBA")))),
        ("artist=earth, wind & fire", Match("artist", ("Earth, Wind & Fire",))),
        ("artist=abba,Earth, Wind & Fire,wind", Match("artist", ("ABBA", "Earth, Wind & Fire", "Wind"))),
        ("artist=bjo\u0308rk", Match("artist", ("Bj\u00f6rk",))),  # typed with a combining diaeresis
        ("year>=1990", Range("year", gte=1990)),
        ("year>1990", Range("year", gt=1990)),
        ("duration<600", Range("duration", lt=600)),
        ("duration<=9:30", Range("duration", lte=570)),
        ("duration>1:02:03.5", Range("duration", gt=3723.5)),
        ("duration=3:00..4:00", Range("duration", gte=180, lte=240)),
        ("duration<90:00", Range("duration", lt=5400)),
        ("bpm=118..124", Range("bpm", gte=118, lte=124)),
        ("bpm=118.5..", Range("bpm", gte=118.5)),
        ("bpm=..124", Range("bpm", lte=124)),
        ("bpm!=118..124", Not(Range("bpm", gte=118, lte=124))),
        ("year=1990", Range("year", gte=1990, lte=1990)),
        ("year!=1990", Not(Range("year", gte=1990, lte=1990))),
        ("year=1990, 2001..2005", Or((Range("year", gte=1990, lte=1990), Range("year", gte=2001, lte=2005)))),
        ("energy<0.5", Range("energy", lt=0.5)),
        ("energy>-1", Range("energy", gt=-1)),
    ],
)
def test_what_people_type(text: str, expected: Filter) -> None:
    assert read(text) == expected


def test_several_filters_must_all_hold() -> None:
    assert read("genre=samba", "year>1990") == And((Match("genre", ("Samba",)), Range("year", gt=1990)))
    assert read() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gnere=samba", "nearest: genre"),
        ("zzz=samba", "known: added, album, artist"),
        ("genre=smba", "nearest: Samba"),
        ("genre=samba,mtal", "'mtal'; nearest: Metal"),
        ("genre=zzz", "known: Metal, salsa, Samba"),
        ("artist=Chayane", "nearest: Chayanne"),
        ("title=x", "no track has a value there"),
        ("genre>samba", "no order"),
        ("year>=soon", "year wants a number, got 'soon'"),
        ("year>=nan", "'nan'"),
        ("year>=1e3", "'1e3'"),
        ("year>1990..1995", "'1990..1995'"),
        ("year=1995..1990", "'1995..1990' is no range"),
        ("year=..", "'..' is no range"),
        ("year=1990,", "year wants a number, got ''"),
        ("year>" + "9" * 400, "finite"),
        ("duration<" + "9" * 5000 + ":00", "finite"),
        ("duration<9:75", "seconds or m:ss, got '9:75'"),
        ("bpm<2:00", "bpm wants a number"),
        ("genre=", "wanted FIELD=VALUE"),
        ("=samba", "wanted FIELD=VALUE"),
        ("samba", "wanted FIELD=VALUE"),
        ("", "wanted FIELD=VALUE"),
    ],
)
def test_mistakes_are_answered_with_what_would_do(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        read(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30), st.sampled_from(["genre=", "year=", "duration>", "bpm!=", "added<", ""]))
def test_any_text_is_a_filter_or_the_users_mistake(text: str, start: str) -> None:
    try:
        where = read(start + text)
    except InputError:
        return
    assert where is not None


@given(st.lists(st.text(min_size=1).filter(lambda name: name.strip(" ,") != ""), min_size=1, max_size=6))
def test_every_known_value_can_be_typed(names: list[str]) -> None:
    for name in names:
        if not name.strip() or name != name.strip():
            continue
        where = parse([f"artist={name}"], lambda field: names)
        assert where is not None
        assert matches(where, {"artist": clean_text(name)}, 0)


TRACK = {
    "artist": "ABBA",
    "genre": ["pop", "disco"],
    "subgenres": ["disco"],
    "name": "SOS",
    "year": 1975,
    "bpm": 120.5,
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Match("artist", ("ABBA",)), True),
        (Match("artist", ("abba",)), False),
        (Match("artist", ("AB", "BA")), False),
        (Match("genre", ("disco",)), True),
        (Match("subgenre", ("pop",)), False),
        (Match("subgenre", ("disco", "x")), True),
        (Match("title", ("SOS",)), True),
        (Match("album", ("",)), False),
        (Not(Match("album", ("Arrival",))), True),
        (Range("year", gte=1975, lte=1975), True),
        (Range("year", gt=1975), False),
        (Range("year", lt=1975), False),
        (Range("year", gte=1974.5, lt=1975.5), True),
        (Range("bpm", gt=120, lt=121), True),
        (Range("duration", gt=0), False),
        (Not(Range("duration", gt=0)), True),
        (HasId(frozenset({7, 8})), True),
        (HasId(frozenset()), False),
        (And((HasId(frozenset({7})), Range("year", lt=1975))), False),
        (Or((HasId(frozenset({9})), Range("year", lt=1976))), True),
        (Or((HasId(frozenset({9})), Range("year", lt=1975))), False),
    ],
)
def test_matches(where: Filter, expected: bool) -> None:
    assert matches(where, TRACK, 7) is expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: Match("year", ("1990",)),
        lambda: Match("colour", ("red",)),
        lambda: Match("artist", ()),
        lambda: Match("artist", "ABBA"),  # type: ignore[arg-type]
        lambda: Range("artist", gt=1),
        lambda: Range("year"),
        lambda: Range("year", gt=float("nan")),
        lambda: Range("year", lt=float("inf")),
        lambda: And(()),
        lambda: Or(()),
    ],
)
def test_filters_without_a_meaning_are_refused(make: type) -> None:
    with pytest.raises(InputError):
        make()


def test_text_that_is_no_utf8_becomes_question_marks() -> None:
    name = b"caf\xe9 \xe2\x82\xac".decode("utf-8", "surrogateescape")
    assert clean_text(name) == "caf? \u20ac"
    assert Match("artist", (name,)).values == ("caf? \u20ac",)


# ---- expressions

IDS = {"liked": {1, 2, 7}, "disliked": {3}, "played": {2, 3}}
FOLDERS = {1: "/music/ABBA/Live/SOS.mp3", 2: "/music/abba/live at home/1.flac", 7: "/music/Queen/1.mp3"}


def ids_of(name: str, value: str) -> set[int]:
    if name == "path":
        passes = glob(value)
        return {number for number, path in FOLDERS.items() if passes(path)}
    return IDS[name]


def known(field: str) -> list[str]:
    if field == "path":
        return ["music", "ABBA", "Live", "Queen"]
    return [
        *KNOWN.get(field, ()),
        *(["Simon and Garfunkel", "a or liked", "Live (1990)"] if field == "artist" else []),
    ]


SAMBA, LATE = Match("genre", ("Samba",)), Range("year", gte=1990)
LIKED, PLAYED = HasId(frozenset({1, 2, 7})), HasId(frozenset({2, 3}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("liked", LIKED),
        ("not liked", Not(LIKED)),
        ("NOT Liked", Not(LIKED)),
        ("never-played", Not(PLAYED)),
        ("genre=samba and (year>=1990 or not liked)", And((SAMBA, Or((LATE, Not(LIKED)))))),
        ("genre=samba or year>=1990 and liked", Or((SAMBA, And((LATE, LIKED))))),
        ("((liked))", LIKED),
        ("not (liked or played)", Not(Or((LIKED, PLAYED)))),
        ("not not liked", Not(Not(LIKED))),
        ("(genre=samba)AND(year>=1990)", And((SAMBA, LATE))),
        ("artist=simon and garfunkel", Match("artist", ("Simon and Garfunkel",))),
        ("artist=simon and garfunkel and liked", And((Match("artist", ("Simon and Garfunkel",)), LIKED))),
        ('artist="a or liked"', Match("artist", ("a or liked",))),
        ('artist="a or liked", ABBA or liked', Or((Match("artist", ("a or liked", "ABBA")), LIKED))),
        ("(artist=Live (1990) or liked)", Or((Match("artist", ("Live (1990)",)), LIKED))),
        ("path=live", HasId(frozenset({1}))),
        ("path=/music", HasId(frozenset({1, 2, 7}))),
        (
            "path=*.mp3 and not path!=*/Live/*",
            And((HasId(frozenset({1, 7})), Not(Not(HasId(frozenset({1})))))),
        ),
        ("path=live*", HasId(frozenset({1, 2}))),
        ('path="live at home"', HasId(frozenset({2}))),
        ("loudness>=-14.5", Range("loudness", gte=-14.5)),
    ],
)
def test_expressions(text: str, expected: Filter) -> None:
    assert parse([text], known, ids_of) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("likd", "nearest: liked"),
        ("genre=samba and likd=1", "no field 'likd'; nearest: liked"),
        ("liked=yes", "liked takes no value"),
        ("(genre=samba", "parenthesis is not closed"),
        ("genre=samba)", "no track has genre 'samba)'; nearest: Samba"),
        ("liked year>1990", "wanted `and` or `or` before 'year>1990'"),
        ("liked and", "wanted FIELD=VALUE"),
        ("not", "known: added, album"),
        ("bpm", "bpm wants a value"),
        ("added=7d", "wanted added<7d (later) or added>7d (before)"),
        ("added<soon", "or added<7d for the last 7 days"),
        ("()", "wanted FIELD=VALUE"),
        ("(" * 100 + "liked" + ")" * 100, "more than 50"),
        ("liked or " * 2000, "characters"),
        ("path=Lve/*", "nearest: Live"),
        ("path>a", "no order"),
        ("genre=samba and yeer>1990", "no field 'yeer'; nearest: year"),
        ("added>=2025-13", "wants a date, or how long ago, got '2025-13'"),
        ("added>=soon", "added wants a date"),
    ],
)
def test_mistakes_in_expressions(text: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        parse([text], known, ids_of)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("added>=2025-01-31", "2025-01-31T00:00:00", "2025-01-30T23:59:59"),
        ("added>2025-01-31", "2025-02-01T00:00:00", "2025-01-31T23:59:59"),
        ("added<=2024-12", "2024-12-31T23:59:59", "2025-01-01T00:00:00"),
        ("added<2025", "2024-12-31T23:59:59", "2025-01-01T00:00:00"),
        ("added=2024-02-29", "2024-02-29T23:59:59", "2024-03-01T00:00:00"),
        ("added=2023..2024-06", "2024-06-30T23:59:59", "2024-07-01T00:00:00"),
        ("added!=2024", "2025-01-01T00:00:00", "2024-07-01T00:00:00"),
    ],
)
def test_dates_are_whole_days_months_and_years_of_local_time(text: str, inside: str, outside: str) -> None:
    where = parse([text], known, ids_of)
    assert where is not None
    assert matches(where, {"added": int(datetime.fromisoformat(inside).timestamp())}, 0)
    assert not matches(where, {"added": int(datetime.fromisoformat(outside).timestamp())}, 0)


@pytest.mark.parametrize(
    ("pattern", "path", "inside"),
    [
        ("*.flac", "/a/b.FLAC", True),
        ("Live/*", "/a/live/b.mp3", True),
        ("Live/*", "/a/alive/b.mp3", False),
        ("/a/b", "/a/b/c/d.mp3", True),
        ("/a/b/", "/a/bc/d.mp3", False),
        ("a/b", "/music/a/b/x.mp3", True),
        ("a?c.mp3", "/abc.mp3", True),
        ("[ab]x", "/bx/1.mp3", True),
        ("(x)", "/(x)/1.mp3", True),
        ("music\\live", "C:\\Music\\Live\\1.mp3", True),
        ("bjo\u0308rk", "/m/BJ\u00d6RK/1.mp3", True),
        ("line", "/a\nb/line/1.mp3", True),
    ],
)
def test_glob(pattern: str, path: str, inside: bool) -> None:
    assert glob(pattern)(path) is inside


def test_when_a_track_was_added_is_told_by_days_and_by_how_long_ago(monkeypatch):
    # 2026-11-01 in UTC is 1793491200: `date -u -d 2026-11-01 +%s`
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    day, week = 1793491200.0, 7 * 86400.0
    monkeypatch.setattr(time, "time", lambda: day)
    try:
        for text, wanted in {
            "added>=2026-11-01": Range("added", gte=day),
            "added>2026-11-01": Range("added", gt=day + 86399),
            "added<2026-11-01": Range("added", lt=day),
            "added<=2026-11-01": Range("added", lte=day + 86399),
            "added=2026-11-01": Range("added", gte=day, lte=day + 86399),
            "added>2026-11-01T00:00:05": Range("added", gt=day + 5),
            "added<7d": Range("added", gt=day - week),  # an age: what is younger than a week came after that
            "added>1w": Range("added", lt=day - week),
            "added <= 12h": Range("added", gte=day - 43200),
            "added>=1w": Range("added", lte=day - week),
            "added=2w..1w": Range("added", gte=day - 2 * week, lte=day - week),
            "added=1w..14d": Range("added", gte=day - 2 * week, lte=day - week),
            "added=..7d": Range("added", gte=day - week),
            "added=7d..": Range("added", lte=day - week),
            "added=2026-11-01..0h": Range("added", gte=day, lte=day),
            "added>1700000000": Range("added", gt=1.7e9),
        }.items():
            assert parse([text], lambda field: []) == wanted
        for text in ("added>soon", "added>2026-13-01", "added=7d", "added=..", "added>7 days", "year>7d"):
            with pytest.raises(
                InputError, match=r"wants a date, or how long ago|one moment|wants a number|no range"
            ):
                parse([text], lambda field: [])
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_suffix_of_a_file_leads_to_its_codecs():
    with pytest.raises(
        InputError, match=r"no track has format 'ogg'; a format is a codec: format=vorbis,opus$"
    ):
        parse(["format=ogg"], lambda field: ["opus", "vorbis", "mp3"])
    with pytest.raises(InputError, match="known: mp3"):
        parse(["format=.ogg"], lambda field: ["mp3"])


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("Am", ["A minor"]), ("a min", ["A minor"]), ("A", ["A major"]), ("AM", ["A major"]), ("amaj", ["A major"]),
        ("Bb", ["Bb major"]), ("A#", ["Bb major"]), ("Am,Bb", ["A minor", "Bb major"]), ("b minor", ["B minor"]),
    ],
)  # fmt: skip
def test_keys_as_musicians_write_them(typed, keys):
    known = ["A minor", "A major", "Bb major", "B minor", "B major"]
    assert parse([f"key={typed}"], lambda field: known) == Match("key", tuple(keys))


def test_a_key_that_no_track_has_is_none():
    with pytest.raises(InputError, match="no track has key 'Cm'"):
        parse(["key=Cm"], lambda field: ["C major", "A minor"])


def test_of_many_artists_the_nearest_are_named_not_the_first():
    artists = [f"a{i} band" for i in range(40)] + ["Project Zero Ensemble", "Zeroh"]
    with pytest.raises(InputError, match=r"nearest: Project Zero Ensemble, Zeroh$"):
        parse(["artist=zero"], lambda field: artists)


def test_of_many_artists_one_with_a_word_like_it_is_named():
    artists = [f"a{i} band" for i in range(40)] + ["The Beatles", "Rolling Stones"]
    with pytest.raises(InputError, match=r"nearest: The Beatles$"):
        parse(["artist=beetels"], lambda field: artists)
