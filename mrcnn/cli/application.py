"""The subcommands in their order, and what becomes of an error: one line for what the user can mend."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

import mrcnn
from mrcnn.cli import (
    compare,
    data,
    datasets,
    detect,
    download,
    evaluate,
    export,
    labels,
    machine,
    page,
    push,
    recipes,
    train,
    video,
    weights,
)
from mrcnn.cli.console import BAD_INPUT, STOPPED, begin, print_error
from mrcnn.cli.options import Imports

# The base of all usage errors; which library it comes from depends on the version of typer.
_USAGE_ERROR = cast(
    type[Exception], next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
)
_ANYWHERE = {"--debug": "debug", "--verbose": "verbose", "--quiet": "quiet"}


class Commands(TyperGroup):
    """A wrong option, a missing file or a broken annotation: one line on stderr and exit code 2, no traceback.

    Only `MrcnnError` and usage errors are treated so: any other exception is a fault of the program, whose traceback is
    shown, exit code 1.
    """

    def main(self, args: Any = None, prog_name: str | None = None, *_: Any, **extra: Any) -> Any:
        """Run the command line; ends in SystemExit, or in the exception of a fault of the program."""
        args, flags = take_flags(sys.argv[1:] if args is None else args)
        begin(verbose="verbose" in flags, quiet="quiet" in flags)
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args or ["--help"], prog_name or "mrcnn", standalone_mode=False, **extra)
        except typer.Abort:
            print_error("stopped")
            code = STOPPED
        except _USAGE_ERROR as error:
            print_error(_usage_line(error))
            code = BAD_INPUT
        except mrcnn.MrcnnError as error:
            if "debug" in flags:
                raise
            print_error(str(error))
            code = BAD_INPUT
        sys.exit(code if isinstance(code, int) else 0)


def take_flags(args: list[str]) -> tuple[list[str], set[str]]:
    """Arguments without the flags that may stand anywhere, for one thinks of them after a failure; and these flags."""
    end = args.index("--") if "--" in args else len(args)
    flags = {_ANYWHERE[arg] for arg in args[:end] if arg in _ANYWHERE}
    return [arg for i, arg in enumerate(args) if i >= end or arg not in _ANYWHERE], flags


def _usage_line(error: Any) -> str:
    line = error.format_message().strip().removeprefix("Invalid value: ")
    context = getattr(error, "ctx", None)
    return line + (f" (see: {context.command_path} --help)" if line and context is not None else "")


app = typer.Typer(
    name="mrcnn",
    cls=Commands,
    help="Mask R-CNN: train, evaluate, detect, export.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mrcnn {mrcnn.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. May stand anywhere.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show TensorFlow's own messages and debug output. May stand anywhere.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Only results, warnings and errors. May stand anywhere.")
    ] = False,
    imports: Imports = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for _command in (
    train.train,
    evaluate.evaluate,
    compare.compare,
    detect.detect,
    video.video,
    page.app,
    export.export,
    data.inspect,
    labels.propose,
    weights.convert,
    weights.weights,
    download.download,
    push.push,
):
    app.command(no_args_is_help=True)(_command)
app.add_typer(datasets.commands, name="data")
app.command("serve-labels", no_args_is_help=True)(labels.serve_labels)
app.command()(recipes.recipes)
app.command("build-ops")(machine.build_ops)
app.command()(machine.doctor)


def main() -> None:
    """Entry point of the `mrcnn` command."""
    logging.getLogger("mrcnn").propagate = False  # some runtimes of exports print all that is logged, a second time
    atexit.register(gc.freeze)  # the system takes all memory back at once; taking objects apart would last a second
    app()
