"""Commands about the library itself: fill it, look after it, carry it."""

import json
import os
import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from soundkin.cli.common import (
    cli,
    count_of,
    grouped,
    hours,
    json_option,
    library_option,
    name_of,
    open_library,
    print_hits,
    print_json,
    print_pairs,
    print_table,
    qdrant_options,
    ranked,
    record_url,
    say,
    scan_progress,
    size_of,
    space_option,
    steps_progress,
)
from soundkin.cli.qdrant import ask_collection
from soundkin.cli.ray import index_with_ray
from soundkin.errors import SoundkinError

if TYPE_CHECKING:
    from soundkin.audio import Listening
    from soundkin.library import Library
    from soundkin.scan import ScanReport

_PRINTS = "`soundkin index PATHS --fingerprints` makes them"
_PRUNE = "soundkin index FOLDER --prune forgets them"


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@library_option
@click.option(
    "-e", "--encoder", "encoders", multiple=True, help="An encoder, or a folder of one; repeatable."
)
@click.option(
    "--windows", type=click.Choice(["spread", "all"]), default=None,
    help="Hear excerpts spread over each track (default), or all of it.",
)  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Worker processes.  [default: one per core]")
@click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE",
    help="Where published encoders run: auto, cpu, cuda, ...",
)  # fmt: skip
@click.option("--nice/--no-nice", default=True, help="Give way to other programs.  [default: nice]")
@click.option("--prune", is_flag=True, help="Forget tracks whose files are gone.")
@click.option("--retry", is_flag=True, help="Try again what failed or was damaged.")
@click.option(
    "--fingerprints", is_flag=True, help="Also hear tracks again that have no fingerprint, for duplicates."
)
@click.option("--watch", is_flag=True, help="Then keep the library up to date until interrupted.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Embed on this machine, or on a Ray cluster; then PATHS may be URLs, too: s3://, gs://, http://, https://.",
)  # fmt: skip
@click.option(
    "--address", metavar="HOST:PORT",
    help="Of the Ray cluster; also auto.  [default: one started on this machine alone]",
)  # fmt: skip
@click.option(
    "--out", metavar="FOLDER|URL",
    help="Leave what Ray makes there, as Parquet files for `soundkin load`.  [default: load it into the library]",
)  # fmt: skip
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    help="Of a file, with Ray.  [default: a minute, and a second more per 200 kB]",
)  # fmt: skip
@qdrant_options
@json_option
def index(
    paths: tuple[str, ...],
    folder: str | None,
    encoders: tuple[str, ...],
    windows: str | None,
    jobs: int | None,
    device: str,
    nice: bool,
    prune: bool,
    retry: bool,
    fingerprints: bool,
    watch: bool,
    engine: str,
    address: str | None,
    out: str | None,
    time_limit: float | None,
    qdrant: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Index audio files and folders: only what is new or changed is embedded."""
    if engine == "ray":
        if watch or prune or fingerprints:
            raise click.UsageError("--watch, --prune and --fingerprints are for the engine local")
        from soundkin.cluster import ClusterOptions

        how = ClusterOptions(encoders, _listening(windows), address, jobs, device, nice, retry, time_limit)
        index_with_ray(paths, out, how, folder, qdrant, api_key, as_json)
        return
    if address or out or time_limit:
        raise click.UsageError("--address, --out and --time-limit are for --engine ray")
    from soundkin.scan import PruneRefused, ScanOptions

    if watch and as_json:
        raise click.UsageError("--watch reports again and again, --json prints one document: use one of them")
    options = ScanOptions(encoders, _listening(windows), jobs, nice, retry, prune, device, fingerprints)
    with open_library(folder, qdrant, api_key) as library:
        try:
            with scan_progress() as progress:
                report = library.add(paths, options, progress)
        except PruneRefused as error:  # after hours of embedding, perhaps: tell what has been done as well
            _print_report(library, error.report, as_json)
            raise
        _print_report(library, report, as_json)
        if not as_json:
            _print_devices(report, device)
        if watch:
            say("watching; Ctrl-C ends")
            library.watch(paths, options, lambda done: _print_report(library, done, as_json))


@cli.command()
@library_option
@click.option(
    "--failed",
    is_flag=True,
    help="List the files that failed, or are damaged where they were heard, with reasons.",
)
@qdrant_options
@json_option
def status(folder: str | None, failed: bool, qdrant: str | None, api_key: str | None, as_json: bool) -> None:
    """Show what the library holds."""
    with open_library(folder, qdrant, api_key) as library:
        if failed:
            _print_failures(library, as_json)
            return
        state = library.status()
        collection, collection_told = ask_collection(library)
    spaces = [
        {"id": space.id, "encoder": space.encoder, "dims": space.dims, "tracks": n, "active": active}
        for space, n, active in state.spaces
    ]
    if as_json:
        told = {
            "gone": state.gone, "writer": state.writer, "without_fingerprint": state.without_fingerprint,
            "qdrant": collection,
        }  # fmt: skip
        print_json({"folder": state.folder, **asdict(state.summary), "spaces": spaces, **told})
        return
    summary = state.summary
    formats = ", ".join(f"{n} {name}" for name, n in summary.formats.items())
    failures = ", ".join(f"{n} {kind}" for kind, n in summary.failures.items())
    print_pairs(
        [
            ("library", state.folder),
            ("tracks", f"{summary.tracks} ({formats})" if formats else "0"),
            ("audio", f"{hours(summary.seconds)}, {size_of(summary.audio_bytes)}"),
            ("record", size_of(summary.record_bytes)),
            *(
                (
                    "space",
                    f"{s['id']}: {s['tracks']} tracks, {s['dims']} dims{_state_of(s)}",
                )
                for s in spaces
            ),
            ("failed", f"{failures} (soundkin status --failed)" if failures else "none"),
            *(
                [("gone", f"{count_of(state.gone, 'track')} whose files are not there ({_PRUNE})")]
                if state.gone
                else []
            ),
            *(
                [
                    (
                        "prints",
                        f"{count_of(state.without_fingerprint, 'track')} without a fingerprint: {_PRINTS}",
                    )
                ]
                if state.without_fingerprint
                else []
            ),
            *([("writing", state.writer)] if state.writer else []),
            *collection_told,
        ]
    )


@cli.command()
@click.argument("queries", nargs=-1, required=True)
@library_option
@json_option
def remove(queries: tuple[str, ...], folder: str | None, as_json: bool) -> None:
    """Forget tracks: ids, files, folders or words. Files are not touched."""
    with open_library(folder) as library:
        removed = library.remove(queries)
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo(
            f"removed {count_of(removed, 'track')}; files still on disk come back when their folder is indexed"
        )


_collection_options = grouped(
    click.option("--collection", metavar="NAME", help="Of a Qdrant.  [default: music_collection]"),
    click.option("--api-key", envvar="QDRANT_API_KEY", help="Key of that server.  [env: QDRANT_API_KEY]"),
)


@cli.command()
@click.argument("file", type=click.Path())
@library_option
@space_option
@_collection_options
@json_option
def export(
    file: str,
    folder: str | None,
    space: str | None,
    collection: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Write tracks with their vectors to FILE: .npz, .parquet, or .sqlite (.db).

    Or to a new collection of a Qdrant: FILE is the URL of its server or, with --collection, a folder.
    """
    from soundkin.scan import printable

    with open_library(folder) as library:
        chosen = library.space(space).id
        tracks = library.export(file, chosen, collection, api_key)
    if as_json:
        print_json({"file": file, "space": chosen, "tracks": tracks})
    else:
        click.echo(f"wrote {count_of(tracks, 'track')} of the space {chosen} to {printable(file)}")


@cli.command("import")
@click.argument("file", type=click.Path())
@library_option
@click.option(
    "--encoder-name", default="imported", show_default=True,
    help="What to call whatever made vectors that do not say it.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), metavar="FILE",
    help="Of a playlist: write what was found as another one.",
)  # fmt: skip
@click.option("--relative", is_flag=True, help="Write paths relative to that playlist.")
@_collection_options
@json_option
def import_(
    file: str,
    folder: str | None,
    encoder_name: str,
    output: str | None,
    relative: bool,
    collection: str | None,
    api_key: str | None,
    as_json: bool,
) -> None:
    """Take in vectors from FILE, so that they need not be made again; or find the tracks of a playlist.

    FILE is a playlist (.m3u8, .xspf, .jspf), whose tracks are found by path, then by tags, then by sound; or a profile
    that `soundkin profile export` printed (.json), which is added to the one of that name here; or what `soundkin
    export` wrote; or an SQLite file with a table songs_vectors(song_id, embedding), whose song_id is a track id, a
    content hash, a path, or a file name without its suffix; or the URL of a Qdrant server, or the folder of one, with
    a collection as Qdrant's audio tutorial makes it, whose songs are found by file, then by artist and title.
    """
    from soundkin.cli.journeys import print_found
    from soundkin.cli.taste import print_taste
    from soundkin.playlists import is_playlist

    if (output or relative) and not is_playlist(file):
        raise click.UsageError("-o and --relative are for playlists")
    with open_library(folder) as library:
        if is_playlist(file):
            print_found(library, file, output, relative, as_json)
            return
        if file.lower().endswith(".json"):
            print_taste(library, file, as_json)
            return
        report = library.import_(file, encoder_name, collection, api_key)
    if as_json:
        print_json({"file": file, **asdict(report)})
        return
    parts = [
        (report.matched, "in the library"), (report.added, "new"), (report.unmatched, "unmatched"),
        (report.refused, "refused"),
    ]  # fmt: skip
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    click.echo(f"{count_of(report.rows, 'row')} of the space {report.space}: {told or 'nothing to do'}")
    click.echo(f"{count_of(report.vectors + report.added, 'new vector')}")
    for line in report.left_out:
        say(f"  {line}")
    if (more := report.unmatched + report.refused - len(report.left_out)) > 0:
        say(f"  and {more} more")


@cli.command()
@click.option(
    "--folder", type=click.Path(file_okay=False), help="Where to make it.  [default: a cache folder]"
)
@click.option("--tracks", type=click.IntRange(min=8), default=60, show_default=True, help="How many.")
@click.option("--seconds", type=click.FloatRange(min=5), default=20.0, show_default=True, help="Of each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another library.")
@json_option
def demo(folder: str | None, tracks: int, seconds: float, seed: int, as_json: bool) -> None:
    """Make a small library of synthesised music, index it, and show what sounds alike."""
    from soundkin import demo as show
    from soundkin.library import Library

    home = show.home(folder, tracks, seconds, seed)
    with steps_progress("making music", tracks) as step:
        music = show.make_music(home, tracks, seconds, seed, step)
    with Library.open(home / "library") as library:
        with scan_progress() as progress:
            report = library.add(music, progress=progress)
        examples = show.examples(library)
        if as_json:
            print_json(
                {
                    "folder": os.fspath(home),
                    "report": asdict(report),
                    "examples": [{"query": asdict(track), "hits": ranked(hits)} for track, hits in examples],
                }
            )
            return
        _print_report(library, report, as_json)
    for track, hits in examples:
        click.echo(f"\nWhat sounds like {name_of(track)} ({', '.join(track.genres)})?")
        print_hits(hits)
    query, place = examples[0][0].title, shlex.quote(os.fspath(home / "library"))
    command = _command()
    click.echo(
        f"\nAsk this library yourself:\n  {command} similar {json.dumps(query)} --library {place}\n"
        f'Then your own music:\n  {command} index ~/Music\n  {command} similar "words of a title, or a file"'
    )


def _command() -> str:
    """Return what to type for this command: its path where the shell would not find it."""
    called, found = Path(sys.argv[0]), shutil.which("soundkin")
    if called.name != "soundkin" or (found and os.path.samefile(found, called)):
        return "soundkin"
    return shlex.quote(os.fspath(called))


@cli.command()
@library_option
@json_option
def doctor(folder: str | None, as_json: bool) -> None:
    """Check the installation and run a short self-test."""
    from soundkin.doctor import examine

    checks = list(examine(folder, record_url()))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(("", "check", "found"), [["ok" if c.ok else "FAIL", c.name, c.found] for c in checks])
    if not all(check.ok for check in checks):
        raise SoundkinError("the installation has a problem, see FAIL above")


def _print_report(library: "Library", report: "ScanReport", as_json: bool) -> None:
    if as_json:
        print_json({"folder": os.fspath(library.folder), **asdict(report)})
        return
    parts = [
        (report.added, "new"), (report.updated, "embedded again"), (report.moved, "moved"),
        (report.touched, "touched"), (report.unchanged, "unchanged"),
        (report.damaged, "of them damaged"), (report.failed, "failed"),
        (report.known_bad, "failed before"), (report.removed, "removed"),
        (report.gone - report.removed, "gone (--prune forgets them)"),
    ]  # fmt: skip
    told = ", ".join(f"{n} {what}" for n, what in parts if n)
    click.echo(f"{count_of(report.found, 'file')}: {told or 'nothing to do'}")
    if report.audio_seconds:
        speed = report.audio_seconds / max(report.elapsed, 1e-3)
        rate = (report.added + report.updated) / max(report.elapsed, 1e-3) * 60
        click.echo(
            f"{hours(report.audio_seconds)} of audio in {report.elapsed:.1f} s: "
            f"{rate:.0f} tracks a minute, {speed:.0f} x real time"
        )
    if report.failed or report.damaged or report.known_bad:
        click.echo("see what failed, and why: soundkin status --failed")


def _print_devices(report: "ScanReport", asked: str) -> None:
    """Say where encoders ran; ours always do on the CPU, which goes without saying."""
    from soundkin.embed import is_light

    for encoder, device in report.devices.items():
        if not is_light(encoder):
            click.echo(f"{encoder} runs on {device} (asked for: {asked})")


def _print_failures(library: "Library", as_json: bool) -> None:
    failures = library.failures()
    if as_json:
        print_json(
            [
                {"path": f.file.path, "size": f.file.size, "kind": f.kind, "reason": f.reason, "at": at}
                for f, at in failures
            ]
        )
    elif failures:
        print_table(("kind", "reason", "file"), [[f.kind, f.reason, f.file.path] for f, _ in failures])
    else:
        click.echo("nothing failed")


def _state_of(space: dict[str, Any]) -> str:
    if space["encoder"] == "taste":
        return " (from plays)"
    return "" if space["active"] else " (old)"


def _listening(windows: str | None) -> "Listening | None":
    if windows is None:
        return None
    from soundkin.audio import DEFAULT_LISTENING, WHOLE

    return WHOLE if windows == "all" else DEFAULT_LISTENING
