"""The page on a port: on this machine only unless the caller says otherwise, and without a word to anybody else."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mrcnn.app.detector import Detector
from mrcnn.app.page import CSS, PASTE, Page
from mrcnn.app.session import Actions
from mrcnn.app.uploads import MAX_MEGABYTES
from mrcnn.data.image_list import list_images
from mrcnn.errors import DependencyError, InputError

INSTALL = "the page needs gradio: pip install 'mrcnn-keras[app]'"
_BROWSERS = 50
"""Sessions that are kept: the oldest is dropped for the next, with its image."""
_SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")


class RunningApp:
    """A page that is being served, by threads of this process.

    Attributes:
        url: where browsers find it.
    """

    def __init__(self, blocks: Any, url: str, labels: Path) -> None:
        self.url = url
        self._blocks, self._labels, self._closed = blocks, labels, threading.Event()

    def wait(self) -> None:
        """Serve until `close` is called by another thread, or Ctrl+C is pressed."""
        with contextlib.suppress(KeyboardInterrupt):
            self._closed.wait()
        self.close()

    def close(self) -> None:
        """Stop serving; uploads and drawings are removed when the process ends at the latest."""
        if not self._closed.is_set():
            self._closed.set()
            self._blocks.close(verbose=False)
            shutil.rmtree(self._labels, ignore_errors=True)

    def __enter__(self) -> RunningApp:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def launch_app(
    model: Any,
    data: str | os.PathLike[str] | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    log: Callable[[str], None] | None = None,
) -> RunningApp:
    """Serve a page on which a model is tried: images dropped, pasted or stepped through, corrected and saved.

    The model runs once an image, at a low score; thresholds, classes and corrections are applied to what it gave. Each
    browser has its own state. Nothing is sent to any other machine.

    Args:
        model: see `mrcnn.detect`; `fold_batch_norm` makes it faster.
        data: a folder or pattern of images to step through, see `mrcnn.list_images`; None: none.
        host: address to listen at; None: the environment's GRADIO_SERVER_NAME, which a Hugging Face Space sets, else
            127.0.0.1, which only this machine can reach.
        port: None: the environment's GRADIO_SERVER_PORT, else the first free one from 7860 on.
        open_browser: show the page in the browser of this machine.
        log: called with one line when the model is warm; None: silent.

    Returns:
        the page, being served; `wait()` serves until it is stopped, `close()` ends it.

    Raises:
        DependencyError: gradio is not installed.
        DataError: no images in `data`.
        InputError: the port is taken, or the address is not one of this machine.

    Example:
        >>> model = mrcnn.fold_batch_norm(mrcnn.load_model("runs/mine"))  # doctest: +SKIP
        >>> mrcnn.launch_app(model, "images").wait()  # doctest: +SKIP
    """
    files = [] if data is None else list_images(data)
    gradio = _import_gradio()
    detector = Detector(model)
    seconds = detector.warm_up()
    if log is not None:
        log(f"the model is warm after {seconds:.1f} s")
    # Asked for again at each upload, so it stays in the environment.
    os.environ.setdefault("GRADIO_TEMP_DIR", str(_own_folder()))
    labels = Path(tempfile.mkdtemp(prefix="labels.", dir=_own_folder()))
    page = Page(gradio, Actions(detector, files), model.class_names, getattr(model, "category_ids", None), labels)
    blocks = page.build()
    try:
        with _without_proxies(host):
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                theme=gradio.themes.Base(font=_FONT, font_mono=_MONO),
                css=CSS,
                head=PASTE,
                max_file_size=MAX_MEGABYTES * 1_000_000,
                state_session_capacity=_BROWSERS,
                footer_links=[],
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                _frontend=False,  # else it gives up if the page, asked for once, takes longer than 3 s
            )
    except OSError as error:
        shutil.rmtree(labels, ignore_errors=True)
        raise InputError(f"port {port} of {host or '127.0.0.1'}: cannot be listened at ({error})") from error
    return RunningApp(blocks, url, labels)


@contextlib.contextmanager
def _without_proxies(host: str | None) -> Iterator[None]:
    """Gradio asks its own server as it starts, in vain where the environment sends all requests through a proxy."""
    names = ("no_proxy", "NO_PROXY")
    before = {name: os.environ.get(name) for name in names}
    own = [value for value in (*before.values(), host, "127.0.0.1", "localhost") if value]
    os.environ.update(dict.fromkeys(names, ",".join(own)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _import_gradio() -> Any:
    """The module, which asks at its import whether it may report its use."""
    os.environ.update(_SILENT)
    try:
        import gradio
    except ImportError as error:
        raise DependencyError(INSTALL) from error
    return gradio


@functools.cache
def _own_folder() -> Path:
    """Of this process, for what is uploaded, drawn and saved; removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="mrcnn_app.")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
