from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcnn.cli import console, detect, video
from tests.blob_finder import BlobFinder
from tests.cli.runner import DATA, NUCLEI, train


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run of one step, made by the command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = train(folder, NUCLEI / "images", "--val", DATA, "--val-images", NUCLEI / "images")
    assert result.exit_code == 0, result.output
    assert "mrcnn: 1 device, 2 images per step, learning rate 0.0024 x 2 / 16 = 0.0003, 1 steps" in result.stderr
    return folder


@pytest.fixture(autouse=True)
def _log_of_the_command_ends_with_it() -> Iterator[None]:
    """The command shows the package's log on stderr; other tests of this process are silent."""
    yield
    logger = logging.getLogger("mrcnn")
    logger.setLevel(logging.NOTSET)
    for handler in [handler for handler in logger.handlers if isinstance(handler, console._Notes)]:
        logger.removeHandler(handler)


class Blobs(BlobFinder):
    """A model whose answers are known and cost nothing, as the command would load it."""

    category_ids = (1, 2, 3)


@pytest.fixture
def blobs(monkeypatch) -> Blobs:
    """What `mrcnn detect` and `mrcnn video` then load, whatever --model says."""
    model = Blobs()
    for module in (detect, video):
        monkeypatch.setattr(module, "load_for_inference", lambda *_: model)
    return model
