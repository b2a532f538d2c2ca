from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import DATA, NUCLEI, train


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run of one step, made by the command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    result = train(folder, NUCLEI / "images", "--val", DATA, "--val-images", NUCLEI / "images")
    assert result.exit_code == 0, result.output
    assert "mrcnn: 1 device, 2 images per step, learning rate 0.0024 x 2 / 16 = 0.0003, 1 steps" in result.stderr
    return folder
