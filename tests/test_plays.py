"""Histories of other programs: every format as its program writes it, and what bad ones come to."""

import io
import json
import plistlib
import sqlite3
import time
import zipfile
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundkin import plays
from soundkin.errors import InputError
from soundkin.plays import Matcher, Played, Refused
from soundkin.plays.matching import artists_of
from soundkin.plays.rows import moment
from soundkin.plays.streams import lines, values

AT = 1_700_000_000


@pytest.fixture
def two(library):
    """Two tracks of different names that no other track has."""
    tracks = sorted((t for t in library.tracks() if t.title), key=lambda t: t.path)
    names = Counter(t.title for t in tracks)
    first = next(t for t in tracks if names[t.title] == 1)
    return first, next(t for t in tracks if names[t.title] == 1 and t.title != first.title)


def put(path, text):
    path.write_text(text, "utf-8")
    return path


def said(library, profile="default"):
    return Counter((one.track, one.kind) for one in library.history(profile))


def taken(library, file, profile=None):
    """Import a file twice: the second time nothing is new, and every row is accounted for both times."""
    report, again = (library.import_plays(file, profile) for _ in range(2))
    for one in (report, again):
        assert one.rows == sum(one.matched.values()) + one.unmatched + sum(one.refused.values())
    assert again.new == 0
    assert again.known == report.new + report.known
    return report


def listen(track, at=AT, **more):
    return listen_of(track.artist, track.title, at, release_name=track.album, **more)


def listen_of(artist, title, at, **more):
    return {
        "listened_at": at,
        "track_metadata": {
            "artist_name": artist, "track_name": title,
            "additional_info": {"recording_mbid": ""}, "mbid_mapping": None, **more,
        },
    }  # fmt: skip


def test_listenbrainz(library, two, tmp_path):
    a, b = two
    gone = {"artist_name": a.artist, "track_name": a.title + "x"}
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("user.json", '{"user_id": 1, "username": "ana"}')
        rows = [
            listen(a),
            listen(a),
            listen(b, AT + 300),
            {"listened_at": AT, "track_metadata": gone},
            {"x": 1},
        ]
        archive.writestr("listens/2023/11.jsonl", "\r\n".join(map(json.dumps, rows)) + '\n{"listened_at": 17')
        loved = {"recording_mbid": "", "score": 1, "created": AT, "track_metadata": rows[0]["track_metadata"]}
        archive.writestr("feedback.jsonl", json.dumps(loved) + "\n" + json.dumps(loved | {"score": 0}))
    report = taken(library, tmp_path / "export.zip", "Ana")
    assert said(library, "Ana") == {(a.id, "play"): 1, (b.id, "play"): 1, (a.id, "like"): 1}
    assert (report.rows, report.matched, report.unmatched) == (8, {"name": 4}, 1)
    assert report.refused == {"cannot be read": 2, "neither loved nor hated": 1}
    (lost,) = report.not_found
    assert (lost.title, lost.rows, lost.nearest[0]) == (a.title + "x", 1, f"{a.artist} - {a.title}")


def test_listenbrainz_by_its_api(library, two, tmp_path):
    answer = {"payload": {"count": 1, "listens": [listen(two[0])]}}
    taken(library, put(tmp_path / "api.json", json.dumps(answer)))
    assert said(library) == {(two[0].id, "play"): 1}


def test_lastfm_with_a_mark_of_windows_and_without_a_header(library, two, tmp_path):
    a, b = two
    text = "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\r\n" + "".join(
        f'"{at}","x","{t.artist}","","{t.album}","","{t.title}",""\r\n'
        for at, t in ((AT, a), (AT, a), (AT + 9, b))
    )
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    report = taken(library, tmp_path / "a.csv")
    assert (report.rows, report.new, report.known) == (3, 2, 1)
    bare = f'{a.artist},{a.album},{a.title},14 Nov 2023 22:14\n"{b.artist}",,"{b.title}",\n'
    report = taken(library, put(tmp_path / "b.csv", bare))
    assert report.refused == {"without a time": 1}
    assert AT + 40 in [one.at for one in library.history()]  # 22:13:20 is AT


def stream(track, end, ms, **more):
    return {
        "ts": datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "ms_played": ms,
        "master_metadata_track_name": track.title, "master_metadata_album_artist_name": track.artist,
        "master_metadata_album_album_name": track.album, "spotify_track_uri": "spotify:track:1",
        "reason_end": "trackdone", "skipped": None, "ip_addr": "1.2.3.4", "offline_timestamp": 1,
        **more,
    }  # fmt: skip


def test_spotify(library, two, tmp_path):
    a, b = two
    rows = [
        stream(a, AT + 200, 200_000), stream(a, AT + 300, 5_000, skipped=True),
        stream(b, AT + 400, 5_000, reason_end="fwdbtn"), stream(b, AT + 500, 5_000),
        stream(b, AT + 600, 200_000, spotify_track_uri=None, episode_name="talk"),
        stream(a, time.time() + 1e6, 200_000),
    ]  # fmt: skip
    file = put(tmp_path / "Streaming_History_Audio_2023_1.json", json.dumps(rows, indent=2))
    report = taken(library, file)
    assert said(library) == {(a.id, "play"): 1, (a.id, "skip"): 1, (b.id, "skip"): 1}
    assert min(one.at for one in library.history()) == AT  # it began before it ended
    assert report.refused == {
        "heard for less than 30 s": 1, "no music: an episode or a book": 1, "in the future": 1,
    }  # fmt: skip
    assert "1.2.3.4" not in json.dumps([str(one) for one in library.history()])
    basic = [
        {"endTime": "2023-11-15 10:00", "artistName": b.artist, "trackName": b.title, "msPlayed": 60_000}
    ]
    with zipfile.ZipFile(tmp_path / "my_spotify_data.zip", "w") as archive:
        archive.writestr("MyData/StreamingHistory_music_0.json", json.dumps(basic))
    taken(library, tmp_path / "my_spotify_data.zip")
    assert said(library)[b.id, "play"] == 1


def test_navidrome(library, two, tmp_path):
    a, b = two
    db = sqlite3.connect(tmp_path / "navidrome.db")
    db.executescript(
        "CREATE TABLE media_file (id, title, artist, album, path, mbz_recording_id);"
        "CREATE TABLE user (id, user_name);"
        "CREATE TABLE annotation (user_id, item_id, item_type, play_count, play_date, rating, starred, starred_at);"
        "CREATE TABLE scrobbles (media_file_id, user_id, submission_time INTEGER);"
    )
    for id_, track in (("1", a), ("2", b)):
        db.execute(
            "INSERT INTO media_file VALUES (?, ?, ?, ?, ?, '')",
            (id_, track.title, track.artist, "", "x/y.mp3"),
        )
    db.execute("INSERT INTO user VALUES ('u', 'bo')")
    db.executemany("INSERT INTO scrobbles VALUES ('1', 'u', ?)", [(AT,), (AT + 500,)])
    day = "2023-11-14T22:13:20.5Z"
    db.executemany(
        "INSERT INTO annotation VALUES ('u', ?, ?, ?, ?, ?, ?, ?)",
        [
            ("1", "media_file", 5, day, 0, 1, day),
            ("2", "media_file", 0, None, 1, 0, None),
            ("9", "album", 7, day, 5, 1, day),
        ],
    )
    db.commit()
    db.close()
    taken(library, tmp_path / "navidrome.db")
    # two of the five plays are told with their times
    assert said(library, "bo") == {(a.id, "play"): 5, (a.id, "like"): 1, (b.id, "dislike"): 1}


def test_subsonic(library, two, tmp_path):
    a, b = two
    songs = [
        {
            "id": "1",
            "title": a.title,
            "artist": a.artist,
            "playCount": 3,
            "played": "2023-11-14T22:13:20.123Z",
        },
        {"id": "2", "title": b.title, "artist": b.artist, "starred": "2023-11-14T22:13:20Z"},
    ]
    answer = {"subsonic-response": {"status": "ok", "album": {"title": "x", "isDir": True, "song": songs}}}
    taken(library, put(tmp_path / "album.json", json.dumps(answer)))
    assert said(library) == {(a.id, "play"): 3, (b.id, "like"): 1}


def test_rhythmbox(library, two, tmp_path):
    a, b = two
    text = f"""<?xml version="1.0" standalone="yes"?><rhythmdb version="2.0">
      <entry type="song"><title>other</title><location>file://{a.path.replace(" ", "%20")}</location>
        <play-count>4</play-count><last-played>{AT}</last-played><rating>5</rating></entry>
      <entry type="song"><title>{b.title}</title><artist>{b.artist}</artist><play-count>2</play-count></entry>
      <entry type="iradio"><title>radio</title><play-count>9</play-count></entry></rhythmdb>"""
    report = taken(library, put(tmp_path / "rhythmdb.xml", text))
    assert said(library) == {(a.id, "play"): 4, (a.id, "like"): 1, (b.id, "play"): 2}
    assert report.matched == {"path": 2, "name": 1}
    cut = taken(library, put(tmp_path / "cut.xml", text[: text.index("iradio")]))
    assert (cut.rows, cut.refused) == (4, {"cannot be read": 1})


def test_itunes(library, two, tmp_path):
    a, b = two
    day = datetime.fromtimestamp(AT, UTC).replace(tzinfo=None)
    tracks = {
        "1": {"Name": a.title, "Artist": a.artist, "Play Count": 2, "Play Date UTC": day, "Loved": True},
        "2": {"Name": b.title, "Artist": b.artist, "Skip Count": 1, "Skip Date": day, "Rating": 20},
        "3": {"Name": "talk", "Podcast": True, "Play Count": 7},
    }
    lists = [{"Name": "all", "Playlist Items": [{"Track ID": 1}, {"Track ID": 2}]}]
    (tmp_path / "Library.xml").write_bytes(plistlib.dumps({"Tracks": tracks, "Playlists": lists}))
    report = taken(library, tmp_path / "Library.xml")
    assert said(library) == {
        (a.id, "play"): 2, (a.id, "like"): 1, (b.id, "skip"): 1, (b.id, "dislike"): 1,
    }  # fmt: skip
    assert report.refused == {"no music: an episode or a book": 1}


def test_a_count_that_nobody_reaches_is_no_flood_of_plays(library, two, tmp_path):
    a, b = two
    many = 4_294_967_295
    tracks = {"1": {"Name": a.title, "Artist": a.artist, "Play Count": many, "Skip Count": many}}
    (tmp_path / "Library.xml").write_bytes(plistlib.dumps({"Tracks": tracks, "Playlists": []}))
    taken(library, tmp_path / "Library.xml")
    songs = [{"title": t.title, "artist": t.artist, "playCount": n} for t, n in ((a, -3), (b, many))]
    taken(library, put(tmp_path / "songs.json", json.dumps({"subsonic-response": {"song": songs}})))
    assert said(library) == {(a.id, "play"): 1000, (a.id, "skip"): 1000, (b.id, "play"): 1000}


def test_somebody_of_whom_only_counts_are_known_is_no_bot(library, two):
    from soundkin.record import Record
    from soundkin.record.feedback import Feedback

    counts = [("ana", Feedback(f"{n:016x}", "play", AT + 200.5 * n), 100) for n in range(30)]
    single = [("bo", Feedback(two[0].id, "play", AT + 9.0 * n)) for n in range(100)]
    with Record.open_to_note(library.folder) as record:
        assert (record.add_counts(counts), record.add_events(single)) == (3000, 100)
        assert record.busiest(2000) == set()
        assert record.busiest(29) == {"ana", "bo"}  # her last play of each track, and each of his
        assert record.busiest(30) == {"bo"}


def test_an_entity_bomb_is_no_history(library, tmp_path):
    bomb = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10)
    )
    text = f"<!DOCTYPE rhythmdb [{bomb}]><rhythmdb><entry type='song'><title>&a9;</title></entry></rhythmdb>"
    assert taken(library, put(tmp_path / "bomb.xml", text)).refused == {"cannot be read": 1}


@pytest.mark.parametrize("suffix", ["m3u8", "jspf"])
def test_playlists(library, two, tmp_path, suffix):
    from soundkin import playlists

    playlists.write(tmp_path / f"list.{suffix}", two)
    taken(library, tmp_path / f"list.{suffix}")
    assert said(library) == {(two[0].id, "play"): 1, (two[1].id, "play"): 1}


def test_tables(library, two, tmp_path):
    a, b = two
    text = (
        "user;track;time;weight\n"
        f"u1;{a.id};{AT};1\nu1;{a.artist} - {a.title};{AT + 60}000;1\nu2;{b.path};;3\nu2;{a.id};;-1\n"
        f"u2;{a.id};nonsense;1\n;{b.artist} - {b.title};2023-11-14T22:13:20;\n\x01;{a.id};{AT};1\n"
    )
    report = taken(library, put(tmp_path / "plays.csv", text))
    assert said(library, "u1") == {(a.id, "play"): 2}
    assert {round(one.at) for one in library.history("u1")} == {AT, AT + 60}  # milliseconds
    assert said(library, "u2") == {(b.id, "play"): 3, (a.id, "dislike"): 1}
    assert said(library) == {(b.id, "play"): 1}
    assert report.profiles == 3
    assert report.refused == {"without a time": 1, "of a user whose name cannot be used": 1}
    more = taken(library, put(tmp_path / "more.csv", f"user,path,plays\nu2,{b.path},5\n"))
    assert (more.new, more.known) == (2, 3)  # two plays more than when it was read before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_letters_of_other_times(tmp_path, encoding):
    rows = [Played("play", float(AT), "Änglagård", "Sigur Rós")]
    file = tmp_path / "x.csv"
    file.write_bytes(f"artist,title,time\r\nSigur Rós,Änglagård,{AT}\r\n".encode(encoding))
    assert list(plays.read(file)) == rows


@pytest.mark.parametrize("name", ["x.csv", "lastfm.csv", "x.jsonl", "x.json"])
def test_what_is_still_to_come_was_not_played(library, two, tmp_path, name):
    track, soon = two[0], int(time.time()) + 10 * 86_400
    about = {"artist_name": track.artist, "track_name": track.title}
    text = {
        "x.csv": f"artist,title,time\n{track.artist},{track.title},{soon}\n",
        "lastfm.csv": f"uts,utc_time,artist,album,track\n{soon},,{track.artist},,{track.title}\n",
        "x.jsonl": json.dumps({"listened_at": soon, "track_metadata": about}),
        "x.json": json.dumps([stream(track, soon, 200_000)]),
    }[name]
    report = taken(library, put(tmp_path / name, text))
    assert (report.refused, report.new) == ({"in the future": 1}, 0)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.csv", "a,b\n1,2\n", "names of its columns"),
        ("x.json", "[]", "wanted a history"),
        ("x.json", '{"profile": "a", "history": []}', "soundkin import"),
        ("x.xml", "<html/>", "XML of another kind"),
        ("x.db", "not a database", "no database of Navidrome"),
        ("x.zip", "no archive", "not a zip"),
        ("x.doc", "", "no format"),
    ],
)
def test_what_is_no_history_is_told(tmp_path, name, text, told):
    with pytest.raises(InputError, match=told):
        list(plays.read(put(tmp_path / name, text)))


def test_an_archive_that_is_damaged_or_locked_is_told(tmp_path):
    rows = "".join(json.dumps(listen_of("a", "b", AT + n)) + "\n" for n in range(500))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("listens/2023/11.jsonl", rows)
    whole = (tmp_path / "x.zip").read_bytes()
    begin = 30 + len("listens/2023/11.jsonl")  # of the data, behind the local header
    (tmp_path / "x.zip").write_bytes(whole[:begin] + b"\xff" * 40 + whole[begin + 40 :])
    with pytest.raises(InputError, match="cannot read the history"):
        list(plays.read(tmp_path / "x.zip"))
    directory = whole.index(b"PK\x01\x02")
    locked = bytearray(whole)
    locked[6] |= 1
    locked[directory + 8] |= 1  # as the format has it: the flag "encrypted" of either header
    (tmp_path / "x.zip").write_bytes(locked)
    with pytest.raises(InputError, match="with a password: unpack it"):
        list(plays.read(tmp_path / "x.zip"))


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.xml", "x.db", "x.zip", "x.m3u8"])
def test_a_history_that_is_not_there_is_told(tmp_path, name):
    with pytest.raises(InputError, match="No such file"):
        list(plays.read(tmp_path / name))


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.integers(), max_size=3), max_size=8),
    st.booleans(),
)
def test_json_is_read_value_by_value(rows, in_lines):
    text = "\n".join(map(json.dumps, rows)) if in_lines else json.dumps(rows, indent=1, ensure_ascii=False)
    data = text.encode("utf-8", "replace")
    if b"?" not in data or in_lines:
        assert list(values(io.BytesIO(data))) == rows


def test_a_list_in_one_long_line_is_read_whole():
    rows = [{"name": "ö" * 50_000, "n": n} for n in range(60)]
    assert list(values(io.BytesIO(json.dumps(rows, ensure_ascii=False).encode()))) == rows
    broken = list(values(io.BytesIO(b'{"a": 1}\n{"a": \n{"a": 2}\n' + b"[" * 100_000)))
    assert [one for one in broken if isinstance(one, dict)] == [{"a": 1}, {"a": 2}]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data):
    assert all(isinstance(one, dict | Refused) for one in values(io.BytesIO(data)))
    assert all(isinstance(line, str) for line in lines(io.BytesIO(data)))


def test_times():
    assert moment("1700000000") == moment(1_700_000_000_000) == moment("2023-11-14T22:13:20Z") == AT
    assert moment("14 Nov 2023 22:13") == AT - 20
    assert [moment(x) for x in ("", "soon", -1, None, True, float("nan"), 1e20)] == [None] * 7


def test_names_are_matched_as_people_write_them(library, two):
    a, _ = two
    matcher = Matcher(library.tracks())
    for artist, title in (
        (a.artist.upper(), a.title.lower()), (f"The {a.artist}", f"{a.title} (Remastered 2011)"),
        (f"{a.artist} feat. Somebody", a.title), (a.artist, f"{a.title} (feat. Somebody)"),
        (f"{a.artist}, Another", a.title),
    ):  # fmt: skip
        assert matcher.find(Played("play", 0.0, title, artist)) == (a.id, "name"), (artist, title)
    assert matcher.find(Played("play", 0.0, f"{a.title} (Live)", a.artist)) == ("", "")
    moved = "/elsewhere/" + "/".join(a.path.split("/")[-2:])
    assert matcher.find(Played("play", 0.0, paths=(moved,))) == (a.id, "path")
    assert artists_of("The Band feat. X & Y") == ("band feat x y", "band")


def test_what_stands_after_with_is_a_guest_only_in_brackets(two):
    from dataclasses import replace

    titles = (
        "Dancing with Tears in My Eyes",
        "Stuck with You",
        "Feel (with Somebody)",
        "Feel",
        "Live (with X) (Live)",
    )
    tracks = [replace(two[0], id=str(n) * 16, title=title) for n, title in enumerate(titles)]
    matcher = Matcher(tracks)
    for title, found in (
        ("Dancing with Myself", ""), ("Stuck with Me", ""), ("Stuck With You", "1"), ("Feel (With Somebody)", "2"),
        ("Feel", "3"), ("Feel (feat. Another)", "3"), ("Live", ""), ("Live (Live)", "4"),
    ):  # fmt: skip
        row = Played("play", 0.0, title, f"{two[0].artist} with Another")
        assert matcher.find(row) == ((found * 16, "name") if found else ("", "")), title


def test_a_relative_path_is_not_looked_for_where_the_command_runs(two, tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    matcher = Matcher([replace(two[0], path=str(tmp_path / "01.mp3"))])
    assert matcher.find(Played("play", 0.0, paths=("01.mp3",))) == ("", "")
    assert matcher.find(Played("play", 0.0, paths=(f"{tmp_path}/x/../01.mp3",))) == (two[0].id, "path")


def test_recordings_are_matched_by_musicbrainz_id_before_names(library, two):
    from dataclasses import replace

    a, b = two
    mbid = "01234567-89ab-cdef-0123-456789abcdef"
    matcher = Matcher(
        [replace(a, recording_mbid=mbid), replace(b, isrc="USX"), replace(b, id="f" * 16, album="Z")]
    )
    assert matcher.find(Played("play", 0.0, b.title, b.artist, recording_mbid=mbid)) == (a.id, "mbid")
    assert matcher.find(Played("play", 0.0, isrc="usx")) == (b.id, "isrc")
    assert matcher.find(Played("play", 0.0, b.title, b.artist, album="z")) == ("f" * 16, "name")
    assert matcher.find(Played("play", 0.0, b.title, b.artist, album=b.album)) == (b.id, "name")


def test_the_command_says_what_became_of_a_history(library, two, tmp_path, capsys):
    from soundkin import cli

    a, _ = two
    file = put(
        tmp_path / "h.csv", f"artist,title,time\n{a.artist},{a.title},{AT}\nNobody,Nothing,{AT}\n,,{AT}\n"
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "import", str(file), "--library", str(library.folder)])
    out, err = capsys.readouterr()
    assert "3 rows, 1 of tracks in the library (1 by artist and title)" in out
    assert "1 new mark, 0 known before" in out
    assert "left out: 1 row without a name" in err
    assert "1 x Nobody - Nothing" in err
    with pytest.raises(SystemExit, match="0"):
        cli.main(["taste", "import", str(file), "--json", "--library", str(library.folder)])
    (report,) = json.loads(capsys.readouterr()[0])
    assert (report["new"], report["known"], report["not_found"][0]["title"]) == (0, 1, "Nothing")
