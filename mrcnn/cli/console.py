"""What the command prints: results on stdout, notes and errors on stderr, safe for any terminal and code page."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import typer
from rich.console import Console
from rich.markup import escape

import mrcnn
from mrcnn.text import printable

BAD_INPUT = 2
SOME_FAILED = 3
STOPPED = 130

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)
_LONGEST = 100
_imports: list[str] = []


class _Level:
    """How much is printed; set anew for each command line."""

    verbose = False
    quiet = False


class _Notes(logging.Handler):
    """What the package logs while it works, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"mrcnn: {printable(self.format(record), keep=chr(10))}", file=sys.stderr)


def begin(verbose: bool = False, quiet: bool = False) -> None:
    """Prepare the streams for one command line: what their encoding lacks is replaced, the package's log is shown."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name may hold what a Windows code page does not
            stream.reconfigure(errors="replace")
    _Level.verbose, _Level.quiet = verbose, quiet
    _imports.clear()
    logger = logging.getLogger("mrcnn")
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())


def remember_import(modules: list[str] | None) -> list[str] | None:
    """Keep the modules of --import until `start` imports them."""
    _imports.extend(modules or ())
    return modules


def start(first: Callable[[], T] | None = None) -> T | None:
    """Start TensorFlow, without its start-up lines unless --verbose was given, then import the modules of --import.

    Args:
        first: called before TensorFlow's first operation; see `mrcnn.quiet_start`.

    Returns:
        What `first` returned.
    """
    if _Level.verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
        result = first() if first is not None else None
    else:
        result = mrcnn.quiet_start(first)
    for module in _imports:
        _import(module)
    return result


def _import(module: str) -> None:
    """Import a module of the user's: of an installed package, or a file in the current folder."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does; the folder of the `mrcnn` script stands there
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a module that the user's own one imports: its traceback says where
        raise typer.BadParameter(
            f"{module}: no such module ({error}); expected a module of an installed package or of the folder {folder},"
            " without .py",
            param_hint="--import",
        ) from error


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return _Level.quiet


def at_terminal() -> bool:
    """Whether to draw progress bars."""
    return sys.stderr.isatty() and not _Level.quiet


def plain(text: object) -> str:
    """Text of the user's (paths, class names) for `console.print`: nothing in it is markup or drives the terminal."""
    return escape(printable(text, keep="\n"))


def short(path: object) -> str:
    """A path on one line, its middle left out where it is very long."""
    text = printable(path)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2 - 2]}...{text[-_LONGEST // 2 + 1 :]}"
    return text


def print_result(text: object) -> None:
    """Print a result, which --quiet leaves standing."""
    console.print(plain(text))


def print_note(text: object) -> None:
    """Print what is no result."""
    if not _Level.quiet:
        console.print(plain(text))


def print_written(*paths: Path) -> None:
    """Name the files that were written, those of them that are there."""
    for path in paths:
        if path.exists():
            print_note(f"wrote {path}")


def print_error(text: str) -> None:
    """One line on stderr; none for an empty text, where help was shown."""
    line = "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    if line:
        print(f"mrcnn: {printable(line)}", file=sys.stderr)
