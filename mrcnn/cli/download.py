"""`mrcnn download`: published weights in the user's cache."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from mrcnn.cli.console import console, plain, print_note, print_result, short
from mrcnn.weights.download import Stored, cache_folder, entry_of_url, remove, stored_files
from mrcnn.weights.download import download as fetch
from mrcnn.weights.zoo import ZooEntry, find_entry, read_zoo


def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|URL...", help="Names of `mrcnn weights --list`, or https addresses."),
    ] = None,
    list_files: Annotated[bool, typer.Option("--list", help="List what has been downloaded.")] = False,
    remove_files: Annotated[bool, typer.Option("--remove", help="Delete the downloaded files of these names.")] = False,
) -> None:
    """Download published weights once, checked; print where each file is."""
    chosen = names or []
    if list_files == bool(chosen):
        raise typer.BadParameter("give names to download, or --list")
    if list_files:
        _list()
    elif remove_files:
        for name in chosen:
            _remove(name)
    else:
        for entry in [_entry_of(name) for name in chosen]:  # all names are known before the first byte
            print_result(fetch(entry, log=print_note))


def list_weights(task: str | None, license_text: str | None) -> None:
    """Print the published weights, those of a task and those whose license holds a text."""
    table = Table(box=None, pad_edge=False)
    for title in ("name", "MB", "AP box", "mask", "keypoints", "license"):
        table.add_column(title, no_wrap=True, justify="left" if title in ("name", "license") else "right")
    for entry in read_zoo().values():
        if task not in (None, entry.task) or (license_text or "").lower() not in entry.license.lower():
            continue
        size = entry.size / 1e6 if entry.size is not None else entry.size_mb
        ap = [f"{entry.ap[what]:.1f}" if what in entry.ap else "" for what in ("box", "mask", "keypoints")]
        table.add_row(
            *(plain(cell) for cell in (entry.name, "" if size is None else f"{size:.0f}", *ap, entry.license))
        )
    if not table.row_count:
        raise typer.BadParameter("no published weights of this task and license")
    console.print(table)


def _entry_of(name: str) -> ZooEntry:
    return entry_of_url(name) if "://" in name else find_entry(name)


def _list() -> None:
    files = stored_files()
    if not files:
        print_note(f"nothing in {cache_folder()}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "MB", "file"):
        table.add_column(title, justify="right" if title == "MB" else "left")
    for stored in files:
        table.add_row(plain(stored.name or stored.url), f"{stored.size / 1e6:.1f}", short(stored.path))
    console.print(table)


def _remove(name: str) -> None:
    chosen: list[Stored] = [stored for stored in stored_files() if name in (stored.name, stored.url)]
    if not chosen:
        raise typer.BadParameter(f"{name} has not been downloaded (see: mrcnn download --list)")
    for stored in chosen:
        remove(stored)
        print_note(f"removed {stored.path}")
