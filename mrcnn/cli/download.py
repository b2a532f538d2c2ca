"""`mrcnn download`: published weights in the user's cache."""

from __future__ import annotations

from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import print_note, print_result


def download(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|URL...", help="Names of `mrcnn weights --list`, https addresses, or hf://user/repo."
        ),
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
            for path in mrcnn.remove_download(name):
                print_note(f"removed {path}")
    else:
        for name in chosen:
            print_result(mrcnn.download_weights(name, refresh=True, log=print_note))


def list_weights(task: str | None, license_text: str | None) -> None:
    """Print the published weights, those of a task and those whose license holds a text."""
    rows: list[tuple[str, ...]] = [("name", "MB", "AP box", "mask", "keypoints", "license")]
    for entry in mrcnn.published_weights().values():
        if task not in (None, entry.task) or (license_text or "").lower() not in entry.license.lower():
            continue
        size = entry.size / 1e6 if entry.size is not None else entry.size_mb
        ap = [f"{entry.ap[what]:.1f}" if what in entry.ap else "" for what in ("box", "mask", "keypoints")]
        rows.append((entry.name, "" if size is None else f"{size:.0f}", *ap, entry.license))
    if len(rows) == 1:
        raise typer.BadParameter("no published weights of this task and license")
    print_result(_columns(rows, right="MB AP box mask keypoints"))


def _list() -> None:
    rows: list[tuple[str, ...]] = [("name", "MB", "file")]
    for stored in mrcnn.downloaded_weights():
        rows.append((stored.name or stored.url, f"{stored.size / 1e6:.1f}", str(stored.path)))
    print_result(_columns(rows, right="MB") if len(rows) > 1 else "nothing has been downloaded")


def _columns(rows: list[tuple[str, ...]], right: str) -> str:
    """Rows under a header, one line each however wide: they are searched with grep."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    adjust = [str.rjust if title in right else str.ljust for title in rows[0]]
    lines = ["  ".join(put(cell, n) for put, cell, n in zip(adjust, row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
