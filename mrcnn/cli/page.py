"""`mrcnn app`."""

from __future__ import annotations

from typing import Annotated

import typer

import mrcnn
from mrcnn.cli.console import is_quiet, print_note, print_result
from mrcnn.cli.detect import load_for_inference
from mrcnn.cli.options import Imports, Model, Precision, Threads

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR|GLOB", help="Images to step through. Default: only what is dropped."),
]
Host = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Listen there; 0.0.0.0: for other machines. Default: 127.0.0.1.")
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860 on.")]
Open = Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")]


def app(
    model: Model,
    data: Data = None,
    host: Host = None,
    port: Port = None,
    open_browser: Open = False,
    threads: Threads = None,
    precision: Precision = "float32",
    imports: Imports = None,
) -> None:
    """Serve a page to try a model on: drop or paste an image, move the threshold, correct, save labels.

    Only this machine reaches the page, and it asks nothing of any other. Needs the extra `app`; Ctrl+C ends it.
    """
    if data is not None:
        mrcnn.list_images(data)  # refused before the model is loaded
    network = load_for_inference(model, threads, precision)
    with mrcnn.launch_app(
        network, data, host=host, port=port, open_browser=open_browser, log=None if is_quiet() else print_note
    ) as page:
        print_result(f"the page is at {page.url}; Ctrl+C ends it")
        page.wait()
