"""The command that takes a library to where many servers share it, and back."""

import click

from soundkin.cli.common import cli, count_of, library_option, open_library, rows_progress, say


@cli.command()
@click.argument("target")
@library_option
def copy(target: str, folder: str | None) -> None:
    """Copy the record of the library, with users and playlists, to TARGET.

    TARGET is a PostgreSQL database, postgresql://user@host/database, or the folder of a new library. Vectors, likes and
    plays come along; nothing is embedded again. Encoders of your own, and what was learned of taste, are files in the
    library's folder: copy that where servers are to use them.
    """
    from soundkin.record.copying import copy_record
    from soundkin.record.database import place_of, shown
    from soundkin.serve.accounts import Accounts, copy_accounts

    to = place_of(target)
    with open_library(folder) as library, rows_progress("rows") as progress:
        here, there = Accounts(library.place), Accounts(to)
        kept = not here.empty()
        if kept:
            there.check_empty()  # before gigabytes are there that nobody wants
        done = copy_record(library.place, to, lambda _, n: progress(n) if progress else None)
        if kept:
            copy_accounts(here, there)
    say(f"{count_of(done, 'track')} copied to {shown(to)}")
