"""The pages of docs/extending about data and evaluation: from a package outside the tree, in fresh processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.extending.package import blocks, install, run

# What finds the component by its entry point alone: nothing imports its module first.
DISCOVERED = {
    "format": "",
    "result_format": "",
    "metric": "",
    "augmentation": "\ntest_brightness()\nprint('Brightness')",
}
PRINTED = {
    "format": "1 images",
    "result_format": r"a\.jpg\tnut\t2\n.*the scores are not written",
    "metric": r"\d\.\d+ \S+",
    "augmentation": "Brightness",
}


@pytest.mark.parametrize(
    "page", ["format", "result_format", "augmentation", pytest.param("metric", marks=pytest.mark.slow)]
)
def test_the_blocks_run(tmp_path: Path, page: str) -> None:
    module = install(tmp_path / "site", page)
    script = blocks(page)[1] + DISCOVERED[page]
    if page in ("format", "result_format"):
        script, removed = re.subn(rf"^import {module}.*\n", "", script, flags=re.MULTILINE)
        assert removed == 1
    assert re.search(PRINTED[page], run(tmp_path / "site", script))
