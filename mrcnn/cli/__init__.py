"""The `mrcnn` command: one module per group of subcommands, public names of the package only.

Each subcommand reads its input, calls one public function and prints where the result lies. `application` orders them
and turns errors into one line; `console` prints; `options` are those that several subcommands share; `outputs` keeps
files of the user from being replaced.
"""

from mrcnn.cli.application import app, main

__all__ = ["app", "main"]
