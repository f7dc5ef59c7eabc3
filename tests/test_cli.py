import errno
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from badfiles import make_bad_files

from soundkin import cli, playlists
from soundkin.cli.collection import _command
from soundkin.cli.common import print_hits
from soundkin.embed import Embedded, FileState
from soundkin.encoders import ENCODERS
from soundkin.encoders.descriptors import Analysis
from soundkin.errors import SoundkinError
from soundkin.library import Library
from soundkin.recommend import Hit
from soundkin.record import Record
from soundkin.tags import Tags


@pytest.fixture
def run(capsys, monkeypatch):
    """Run a command in this process: (exit status, stdout, stderr)."""
    monkeypatch.delenv("SOUNDKIN_LIBRARY", raising=False)

    def command(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exited.value.code or 0, out, err

    return command


@pytest.fixture
def home(made):
    return ["--library", made.library]


def start(*arguments, **keywords):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **keywords.pop("env", {}),
    }
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | keywords
    return subprocess.Popen(
        [sys.executable, "-m", "soundkin.cli", *map(str, arguments)], text=True, env=environment, **options
    )


# ---- encoders


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("get", "panns-cnn14"), "SOUNDKIN_OFFLINE is set"),
        (("get", "openl3"), "encoders add openl3-music-mel256-512 FILE"),
        (("get", "hf:org/model"), "huggingface.co/org/model"),
        (("get", "nothing"), "no encoder is called 'nothing'; there are cnn"),
        (("verify", "musicnn"), "weights of musicnn are not here"),
        (("verify", "mert:layers=7"), "no option 'layers'; it has: layer"),
        (
            ("add", "musicnn", __file__),
            "none of the files that musicnn needs: musicnn-0.1.0-py3-none-any.whl: ",
        ),
        (("add", "clap", __file__), "no folder with config.json"),
        (("tags", "cnn", __file__), "cnn knows no tags; panns-cnn14 and musicnn do"),
    ],
)
def test_encoders_say_what_is_missing(run, monkeypatch, arguments, words):
    monkeypatch.setenv("SOUNDKIN_OFFLINE", "1")
    code, out, err = run("encoders", *arguments)
    assert (code, out) == (1, "")
    assert words in err.splitlines()[-1]


def test_the_licence_is_told_before_anything_is_fetched(run, monkeypatch):
    monkeypatch.setenv("SOUNDKIN_OFFLINE", "1")
    licence, error = run("encoders", "get", "mert-v1-95m")[2].splitlines()
    assert licence == "licence of the weights of mert-v1-95m: CC-BY-NC-4.0"
    assert error.startswith("error: ")


def test_what_is_in_the_wheel_need_not_be_fetched(run):
    assert run("encoders", "get", "cnn")[1] == "cnn is in the wheel: nothing to fetch\n"
    lines = run("encoders", "verify", "cnn")[1].splitlines()
    assert lines[0] == "loaded: 128 dims on cpu, onnxruntime float32"


def test_a_device_that_is_not_here_is_no_reason_to_take_another(run, made, tmp_path):
    code, _, err = run("index", made.music, "--device", "cuda", "--library", tmp_path / "library")
    assert code == 1
    assert "device 'cuda' was asked for, but cnn runs on the CPU only" in err


# ---- similar


def test_a_query_or_a_text_but_not_both(run, home):
    for arguments in ((), ("words", "--text", "slow")):
        code, out, err = run("similar", *arguments, *home)
        assert (code, out) == (2, "")
        assert "give a QUERY or --text" in err
    code, _, err = run("similar", "--text", "slow melancholic piano", *home)
    assert code == 1
    assert "no space of this library understands words" in err


def test_several_spaces_answer_together(run, home, made):
    document = json.loads(run("similar", made.tracks[3][0], "--space", "cnn+descriptors", "--json", *home)[1])
    assert [part.rpartition("-")[0] for part in document["space"].split("+")] == ["cnn", "descriptors"]
    assert all(0 < hit["similarity"] <= 1 for hit in document["hits"])


def test_letters_that_stdout_lacks_are_shown_by_their_numbers(tmp_path):
    folder = tmp_path / "\u97f3"
    Record.open(folder, write=True).close()
    with start("status", "--library", folder, env={"PYTHONIOENCODING": "latin-1"}) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "\\u97f3" in out


def test_similar_shows_a_table(run, home, made):
    path, plan = made.tracks[3]
    code, out, err = run("similar", path, "-k", 3, *home)
    assert (code, err) == (0, f"like {plan.artist} - {plan.title}\n")  # what the question was taken for
    with Library.open(made.library) as library:
        hits = library.similar(path, 3)
    titles, _, *rows = [line for line in out.splitlines() if line.strip()]
    assert titles.split() == ["#", "similarity", "title", "artist", "album", "length", "also"]
    assert len(rows) == 3
    for rank, (row, hit) in enumerate(zip(rows, hits, strict=True), 1):
        assert row.split()[:2] == [str(rank), f"{hit.similarity:.3f}"]
        assert (hit.title or Path(hit.path).stem) in row
        assert hit.artist in row
        assert f"0:{round(hit.duration):02}" in row
    assert plan.title not in out


@pytest.mark.parametrize("k", [1, 4])
def test_the_command_answers_what_the_library_answers(run, home, made, k):
    query, plan = made.tracks[5]
    with Library.open(made.library) as library:
        track = library.find(query)
        for asked in (query, track.id, f"{plan.artist} {plan.title}"):
            for filters, space in ((), None), (("year>=1900", "format!=mp3"), "descriptors"):
                options = [option for text in filters for option in ("--filter", text)]
                options += ["--space", space] if space else []
                code, out, err = run("similar", asked, "-k", k, "--json", *options, *home)
                document = json.loads(out)
                assert (code, err) == (0, "")
                assert document["space"] == library.space(space).id
                assert document["track"] == {
                    "id": track.id, "path": os.fspath(query), "title": plan.title, "artist": plan.artist,
                    "album": plan.album,
                }  # fmt: skip
                hits = library.similar(track, k, list(filters), space)
                wanted = [
                    {
                        "rank": rank, "id": hit.id, "path": hit.path, "title": hit.title, "artist": hit.artist,
                        "album": hit.album, "duration": hit.duration, "similarity": hit.similarity,
                        "reasons": list(hit.reasons), "cosine": hit.cosine, "follows": "",
                        "close": hit.close, "there": True,
                        "moments": [
                            {"here": m.here, "there": m.there, "seconds": m.seconds, "cosine": m.cosine}
                            for m in hit.moments
                        ],
                    }
                    for rank, hit in enumerate(hits, 1)
                ]  # fmt: skip
                assert document["hits"] == wanted


def test_similar_writes_a_playlist(run, home, made, tmp_path):
    code, out, err = run(
        "similar", made.tracks[3][0], "-k", 3, "--json", "--m3u", tmp_path / "list.m3u8", *home
    )
    assert code == 0
    assert "list.m3u8" in err
    hits = json.loads(out)["hits"]
    lines = (tmp_path / "list.m3u8").read_text("utf-8").splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2::2] == [hit["path"] for hit in hits]


def test_similar_when_nothing_passes_a_filter(run, home, made):
    code, out, _ = run("similar", made.tracks[3][0], "--filter", "year<1000", *home)
    assert (code, out) == (0, "no other track in the library passes\n")


def put(folder, path, **tags):
    """Put a made-up track into a record."""
    rng = np.random.default_rng(list(os.fsencode(path)))
    with Record.open(folder, write=True) as record:
        vectors = {}
        for space in record.active_spaces():
            vector = rng.standard_normal(space.dims).astype(np.float32)
            vectors[space.id] = vector / np.linalg.norm(vector)
        record.put(
            Embedded(
                FileState(path, 5, 1),
                rng.bytes(16).hex(),
                6.0,
                44100,
                2,
                "mp3",
                Tags(**tags),
                Analysis(),
                vectors,
            )
        )


def test_ambiguous_words_list_the_choices(run, library):
    for i in range(3):
        put(library.folder, f"/nowhere/{i}.mp3", title=f"Zzyzx {i}", artist="Nobody")
    code, out, err = run("similar", "zzyzx", "--library", library.folder)
    first, *choices = err.splitlines()
    assert (code, out) == (1, "")
    assert first.startswith("error: 'zzyzx' matches several tracks")
    assert [m and m[1] for m in (re.fullmatch(r"  [0-9a-f]{16}  Nobody - (.*)", line) for line in choices)] == [
        "Zzyzx 0 (0:06)", "Zzyzx 1 (0:06)", "Zzyzx 2 (0:06)",
    ]  # fmt: skip
    for i in range(2):  # the same name: the file tells them apart, and what only contains it is no choice
        put(library.folder, f"/nowhere/same/{i}.mp3", title="Zzyzx", artist="Nobody")
    _, _, err = run("similar", "zzyzx", "--library", library.folder)
    assert [line.split(")  ")[1] for line in err.splitlines()[1:]] == ["same/0.mp3", "same/1.mp3"]


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_rank_similarity_and_length_are_whole_on_any_terminal(monkeypatch, capsys, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    long = "long words " * 20
    print_hits([Hit("0" * 16, "/a.mp3", long, long, long, 3754.0, 0.875, (long, long)) for _ in range(12)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "0.875" in line]
    assert [line[:2] for line in lines] == [[str(i), "0.875"] for i in range(1, 13)]
    assert all("1:02:34" in line for line in lines)


def test_odd_names_are_printed_so_that_a_terminal_is_safe(run, library):
    path = os.fsdecode(b"/nowhere/line\nbreak \x1b[31m \xff.mp3")
    put(library.folder, path)
    code, out, _ = run("similar", path, "-k", 31, "--library", library.folder)
    assert code == 0
    other = library.tracks()[0].path
    # with reasons: a table cuts long names where its other columns are wide
    code, out, _ = run("similar", other, "-k", 31, "--why", "--library", library.folder)
    assert code == 0
    assert "\x1b" not in out
    assert "line\\nbreak \\x1b[31m \\udcff" in out
    code, out, _ = run("similar", other, "-k", 31, "--json", "--library", library.folder)
    assert path in [hit["path"] for hit in json.loads(out)["hits"]]


# ---- errors


ERRORS = [
    (["similar", "no such words"], 1, "error: nothing in the library matches 'no such words'"),
    (["similar", "x", "--filter", "yeer=1990"], 1, "error: "),
    (["similar", "x", "--space", "clap"], 1, "error: no space 'clap' in this library"),
    (["remove", "no such words"], 1, "error: nothing in the library matches"),
    (["index", "/no/such/folder"], 1, "error: no such file or folder: /no/such/folder"),
    (["similar"], 2, "give a QUERY or --text"),
    (["similar", "x", "-k", "0"], 2, "Invalid value"),
    (["nonsense"], 2, "No such command"),
    (["index", ".", "--windows", "some"], 2, "Invalid value"),
]


@pytest.mark.parametrize(("arguments", "status", "said"), ERRORS)
def test_mistakes_are_told_in_one_line_and_by_the_exit_status(run, home, arguments, status, said):
    code, out, err = run(*arguments, *(home if status == 1 else ()))
    assert (code, out) == (status, "")
    assert said in err
    assert "Traceback" not in err
    if status == 1:
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_without_a_library_the_next_step_is_named(run, tmp_path):
    for arguments in (["similar", "x"], ["status"], ["status", "--failed"], ["remove", "x"]):
        code, out, err = run(*arguments, "--library", tmp_path / "none")
        assert (code, out) == (1, "")
        assert "soundkin index" in err
    assert not (tmp_path / "none").exists()


def broken(*arguments, **keywords):
    raise ZeroDivisionError("seven")


def test_our_bugs_have_a_status_of_their_own(run, home, monkeypatch):
    monkeypatch.setattr(Library, "status", broken)
    code, out, err = run("status", *home)
    assert (code, out) == (70, "")
    assert err == "internal error: ZeroDivisionError: seven; run again with --debug and report it\n"


@pytest.mark.parametrize("place", [0, -1])
def test_debug_shows_the_traceback_wherever_it_stands(made, monkeypatch, place):
    monkeypatch.setattr(Library, "status", broken)
    arguments = ["status", "--library", str(made.library)]
    arguments.insert(place if place == 0 else len(arguments), "--debug")
    with pytest.raises(ZeroDivisionError):
        cli.main(arguments)


def test_interrupted(run, home, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "status", interrupt)
    code, out, err = run("status", *home)
    assert (code, out) == (130, "")
    assert err.strip() == "interrupted"


@pytest.mark.parametrize("kind", ["help", "table", "json"])
def test_a_reader_that_has_enough_is_no_error(made, kind):
    arguments = {
        "help": ["--help"],
        "table": ["similar", made.tracks[3][0], "--library", made.library],
        "json": ["status", "--json", "--library", made.library],
    }[kind]
    ours, theirs = os.pipe()
    os.close(ours)
    with start(*arguments, stdout=theirs) as process:
        os.close(theirs)
        err = process.stderr.read()
    assert (process.returncode, [line for line in err.splitlines() if not line.startswith("like ")]) == (
        0,
        [],
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no file here is always full")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["status"], ["similar", 0, "-k", 20, "--json"], ["similar", 0]]
)
def test_an_answer_that_cannot_be_written_is_no_bug(made, arguments):
    arguments = [made.tracks[3][0] if one == 0 else one for one in arguments]
    home = ["--library", made.library] if len(arguments) > 1 or arguments == ["status"] else []
    with open("/dev/full", "wb") as full, start(*arguments, *home, stdout=full) as process:
        err = process.stderr.read().splitlines()
    assert (process.returncode, err[-1]) == (
        1,
        f"error: cannot write the answer: {os.strerror(errno.ENOSPC)}",
    )
    assert "Traceback" not in err


def test_an_error_of_the_system_leaves_nothing_on_stdout(run, home, monkeypatch):
    def refuse(self):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr(Library, "status", refuse)
    code, out, err = run("status", *home)
    assert (code, out) == (70, "")
    assert err.startswith("internal error: ConnectionRefusedError")
    assert err.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_bug(made, closed):
    command = [sys.executable, "-m", "soundkin.cli", "status", "--library", made.library]
    shell = f"{shlex.join(map(os.fspath, command))} {closed}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("tracks" in done.stdout) == (closed == "2>&-")


def test_every_track_that_is_asked_with_is_named(run, home, made):
    (a, b, c), names = [made.tracks[i][0] for i in (3, 5, 7)], [
        f"{made.tracks[i][1].artist} - {made.tracks[i][1].title}" for i in (3, 5, 7)
    ]  # fmt: skip
    options = ["--like", a, "--like", b, "--dislike", c]
    _, _, err = run("recommend", *options, "-k", 1, *home)
    assert err.splitlines()[:3] == [f"like {names[0]}", f"like {names[1]}", f"unlike {names[2]}"]
    with Library.open(made.library) as library:
        ids = [library.find(path).id for path in (a, b, c)]
    document = json.loads(run("recommend", *options, "-k", 1, "--json", *home)[1])
    assert [track["id"] for track in document["tracks"]] == ids
    assert f"like {names[1]}" in run("radio", b, "-n", 1, *home)[2].splitlines()
    assert json.loads(run("radio", b, "-n", 1, "--json", *home)[1])["track"]["id"] == ids[1]
    assert f"like {names[0]}" in run("playlist", "--like", a, "-n", 1, *home)[2].splitlines()
    assert json.loads(run("playlist", "--like", a, "-n", 1, "--json", *home)[1])["tracks"][0]["id"] == ids[0]


def test_a_file_of_elsewhere_is_no_track_of_the_library(run, home, made, tmp_path):
    copy = shutil.copy(made.tracks[3][0], tmp_path)
    code, out, _ = run("similar", copy, "-k", 1, "--json", *home)
    assert (code, json.loads(out)["track"]) == (0, None)
    assert "like " not in run("similar", copy, "-k", 1, *home)[2]


@pytest.mark.parametrize("command", ["similar", "recommend"])
def test_the_suffix_says_what_playlist_is_written(run, home, made, tmp_path, command):
    asked = [made.tracks[3][0]] if command == "similar" else ["--like", made.tracks[3][0]]
    code, out, _ = run(command, *asked, "-k", 3, "--json", "--m3u", tmp_path / "list.xspf", *home)
    assert code == 0
    assert [entry.title for entry in playlists.read(tmp_path / "list.xspf")] == [
        hit["title"] for hit in json.loads(out)["hits"]
    ]
    code, out, err = run(command, *asked, "--m3u", tmp_path / "list.txt", *home)
    assert (code, out) == (1, "")
    assert "no format '.txt'" in err
    assert not (tmp_path / "list.txt").exists()


def test_no_tracks_are_no_playlist(run, home, made, tmp_path):
    file = tmp_path / "list.m3u8"
    for command in (
        ["similar", made.tracks[3][0], "--filter", "year<1000", "--m3u", file],
        ["playlist", "--filter", "year<1000", "-o", file],
    ):
        code, _, err = run(*command, *home)
        assert (code, "list.m3u8 is not written" in err, "wrote" in err) == (0, True, False)
        assert not file.exists()


def test_how_long_a_moment_is_wants_a_moment(run, home, made):
    code, out, err = run("similar", made.tracks[3][0], "--seconds", 4, *home)
    assert (code, out) == (2, "")
    assert "--at" in err
    for options, seconds in ((["--at", 1], 10.0), (["--at", 1, "--seconds", 4], 4.0)):
        document = json.loads(run("similar", made.tracks[3][0], *options, "-k", 1, "--json", *home)[1])
        assert (document["at"], document["seconds"]) == (1.0, seconds)


# ---- the other commands


def test_status(run, home, made):
    code, out, err = run("status", *home)
    assert (code, err) == (0, "")
    assert re.search(r"tracks  30 \(.*flac", out)
    assert re.search(r"space  cnn-[0-9a-f]{8}: 30 tracks, 128 dims", out)
    document = json.loads(run("status", "--json", *home)[1])
    assert (document["folder"], document["tracks"], document["failures"]) == (str(made.library), 30, {})
    assert {space["encoder"]: space["tracks"] for space in document["spaces"]} == {
        "cnn": 30,
        "descriptors": 30,
    }
    assert sum(document["formats"].values()) == 30
    assert run("status", "--failed", *home)[1] == "nothing failed\n"
    assert json.loads(run("status", "--failed", "--json", *home)[1]) == []


def test_what_is_gone_is_said(run, library, made):
    put(library.folder, "/nowhere/lost.mp3")
    home = ["--library", library.folder]
    out = run("status", *home)[1]
    assert re.search(r"gone  1 track whose files are not there \(soundkin index FOLDER --prune", out)
    assert json.loads(run("status", "--json", *home)[1])["gone"] == 1
    code, out, err = run("similar", made.tracks[0][0], "-k", 40, "--m3u", library.folder / "list.m3u8", *home)
    assert code == 0
    assert "[gone] lost" in out
    assert "[gone]: 1 file not there" in err
    assert "lost" not in (library.folder / "list.m3u8").read_text()


def test_json_has_no_digits_that_mean_nothing(run, home, made):
    hits = json.loads(run("similar", made.tracks[0][0], "--json", *home)[1])["hits"]
    assert all(hit["duration"] == round(hit["duration"], 3) for hit in hits)
    assert json.loads(run("status", "--json", *home)[1])["seconds"] == round(
        sum(track.duration for track in Library.open(made.library).tracks()), 3
    )


def test_a_refused_prune_prints_the_report_too(run, library, made, tmp_path):
    home = ["--library", library.folder]
    shutil.copytree(made.music / "copies", tmp_path / "copies")
    assert run("index", tmp_path / "copies", "-j", 1, *home)[0] == 0
    shutil.rmtree(tmp_path / "copies")
    (tmp_path / "copies").mkdir()
    code, out, err = run("index", tmp_path / "copies", "--prune", *home)
    assert code == 1
    assert "0 files: 6 gone" in out
    assert "nothing was removed" in err


def test_the_library_can_be_named_by_the_environment(run, made, monkeypatch):
    monkeypatch.setenv("SOUNDKIN_LIBRARY", str(made.library))
    assert json.loads(run("status", "--json")[1])["tracks"] == 30


def test_encoders(run):
    code, out, _ = run("encoders")
    assert code == 0
    assert all(name in out for name in ENCODERS)
    assert all(info.licence in out for info in ENCODERS.values())
    rows = json.loads(run("encoders", "--json")[1])
    assert [row["name"] for row in rows] == list(ENCODERS)
    assert [row["name"] for row in rows if row["default"]] == ["cnn"]
    assert {row["name"] for row in rows if row["here"]} == {"cnn", "descriptors"}
    assert {row["name"] for row in rows if row["reads"]} == {"clap"}


def test_remove(run, library, made):
    code, out, _ = run("remove", made.tracks[0][0], "--library", library.folder)
    assert (code, out) == (0, "removed 1 track; files still on disk come back when their folder is indexed\n")
    code, out, _ = run("remove", made.music / "copies", "--json", "--library", library.folder)
    assert (code, json.loads(out)) == (0, {"removed": 6})
    assert len(library.tracks()) == 23


def test_index_of_what_is_known_says_so(run, library, made):
    code, out, err = run("index", made.music, "--library", library.folder)
    assert (code, out, err) == (0, "30 files: 30 unchanged\n", "")
    document = json.loads(run("index", made.music, "--json", "--library", library.folder)[1])
    assert (document["found"], document["unchanged"], document["added"]) == (30, 30, 0)


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"soundkin \d+\.\d+\.\d+\n", out)


def test_the_demo_says_what_to_type_where_the_shell_does_not_find_the_command(tmp_path, monkeypatch):
    installed = tmp_path / "bin dir" / "soundkin"
    installed.parent.mkdir()
    installed.touch(0o755)
    monkeypatch.setattr("sys.argv", [str(installed)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _command() == f"'{installed}'"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert _command() == "soundkin"


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
def test_demo(run, tmp_path, as_json):
    code, out, err = run(
        "demo", "--folder", tmp_path, "--tracks", 16, "--seconds", 5, *(["--json"] if as_json else [])
    )
    assert code == 0
    # among so few a track may be the only one of its style
    assert (
        err.replace("nothing in the library is clearly close to it; this is what comes nearest:\n", "") == ""
    )
    if as_json:
        document = json.loads(out)
        assert document["report"]["added"] == 16
        assert all(len(example["hits"]) == 5 for example in document["examples"])
        assert len(document["examples"]) == 3
    else:
        assert out.count("What sounds like ") == 3
        again = re.search(r'  soundkin (similar) "(.*)" --library (.*)', out)
        assert again
        assert run(*again.groups()[:2], "--library", again[3])[0] == 0


@pytest.mark.slow
def test_doctor(run, tmp_path):
    code, out, err = run("doctor", "--library", tmp_path / "none", "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert (code, err) == (0, "")
    assert all(check["ok"] for check in checks.values())
    assert {"soundkin", "machine", "decoders", "library", "self-test"} <= checks.keys()
    ours = {name for name, info in ENCODERS.items() if info.is_built_in}
    assert {key.removeprefix("encoder ") for key in checks if key.startswith("encoder ")} == ours
    assert checks["published encoders"]["found"].startswith("none is ready; 6 are not fetched")


def test_doctor_tells_what_is_broken_and_goes_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr("soundkin.doctor._self_test", lambda: "skipped")
    monkeypatch.setattr("soundkin.doctor._decoders", broken)
    code, out, err = run("doctor", "--library", tmp_path / "none")
    assert code == 1
    assert re.search(r"FAIL\s+decoders\s+ZeroDivisionError: seven", out)
    assert re.search(r"ok\s+self-test", out)
    assert err.startswith("error: ")


# ---- on a terminal, and with real signals


def on_a_terminal(*arguments):
    """Run a command whose stderr is a terminal: (exit status, stdout, what the terminal got)."""
    ours, theirs = pty.openpty()
    with start(*arguments, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "120"}) as process:
        os.close(theirs)
        seen = b""
        while True:
            if select.select([ours], [], [], 120)[0]:
                try:
                    data = os.read(ours, 65536)
                except OSError as error:
                    if error.errno == errno.EIO:
                        break
                    raise
                if not data:
                    break
                seen += data
        out = process.stdout.read()
    os.close(ours)
    return process.returncode, out, seen.decode()


@pytest.mark.slow
def test_a_terminal_sees_progress_and_a_pipe_does_not(made, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for i in range(4):
        shutil.copy(made.tracks[i][0], music)
    (music / "bad.mp3").write_text("x" * 1000)
    code, out, seen = on_a_terminal("index", music, "-j", 1, "--json", "--library", tmp_path / "a")
    assert (code, json.loads(out)["added"]) == (0, 4)
    assert "indexing" in seen
    assert "5/5" in seen
    assert "x real time" in seen
    assert "1 failed" in seen
    with start("index", music, "-j", 1, "--library", tmp_path / "b") as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("5 files: 4 new, 1 failed\n")
    assert "tracks a minute" in out
    assert "soundkin status --failed" in out


def committed(folder):
    try:
        with Library.open(folder) as library:
            return library.tracks()
    except SoundkinError:  # there is no record yet
        return []


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done(made, tmp_path):
    music = tmp_path / "music"
    for i in range(20):
        shutil.copytree(made.music, music / str(i))

    def listen_to_ctrl_c():  # which is ignored where the tests run in the background of a shell
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with start(
        "index", music, "-j", 1, "--library", tmp_path / "library", preexec_fn=listen_to_ctrl_c
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not committed(tmp_path / "library"):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "interrupted; what was done is kept, run the command again to go on"
    with Library.open(tmp_path / "library") as library:
        assert 0 < library.status().summary.tracks < 600


# ---- bad files


@pytest.mark.slow
def test_every_bad_file_ends_in_the_record_with_its_reason(run, tmp_path):
    bad = make_bad_files(tmp_path / "music")
    home = ["--library", tmp_path / "library"]
    # of videos, only those that are usually music are looked for: any other is named
    music = [tmp_path / "music", bad["video.mkv"].path]
    code, out, _ = run("index", *music, "--json", *home)
    first = json.loads(out)
    assert code == 0
    failures = {
        failure["path"]: failure for failure in json.loads(run("status", "--failed", "--json", *home)[1])
    }
    with Library.open(tmp_path / "library") as library:
        indexed = {track.path for track in library.tracks()}
    damaged = {path for path, failure in failures.items() if failure["kind"] == "damaged"}
    assert indexed & failures.keys() == damaged
    assert damaged >= {bad[key].path for key in ("cut.mp3", "cut.flac", "cut.ogg", "cut.wav", "flips.flac")}
    assert len(indexed) == first["added"]
    assert (len(damaged), len(failures) - len(damaged)) == (first["damaged"], first["failed"])
    for key, file in bad.items():
        if file.regular:
            assert (file.path in indexed) != (file.path in failures.keys() - damaged), key
        if file.expect == "ok":
            assert file.path in indexed, (key, failures.get(file.path))
        if file.expect == "fail":
            assert file.path not in indexed, key
    for failure in failures.values():
        assert failure["kind"] in ("damaged", "decode", "silent", "unreadable", "vanished"), failure
        assert "\n" not in failure["reason"]
        assert len(failure["reason"]) > 5
    again = json.loads(run("index", *music, "--json", *home)[1])
    assert (again["unchanged"], again["known_bad"]) == (first["added"], first["failed"])
    assert (again["added"], again["updated"], again["failed"]) == (0, 0, 0)
    retried = json.loads(run("index", *music, "--retry", "--json", *home)[1])
    assert (retried["failed"], retried["unchanged"]) == (first["failed"], first["added"] - len(damaged))
    code, out, _ = run("status", "--failed", *home)
    assert code == 0
    assert "\x1b" not in out
