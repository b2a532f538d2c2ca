import importlib.util
from pathlib import Path

import pytest

from mrcnn.weights.zoo import ZooEntry, published_weights

SCRIPT = Path(__file__).parents[2] / "docs" / "zoo_tables.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("zoo_tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_table_says(script):
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page(text) == text, "run: python docs/zoo_tables.py"


def test_every_entry_stands_on_the_page_once(script):
    text = script.PAGE.read_text(encoding="utf-8")
    for name, entry in published_weights().items():
        assert text.count(f"[`{name}`]({entry.url})") == 1


def test_a_row_by_hand(script):
    entry = ZooEntry(
        "lab/net", "mrcnn", "https://x.org/a", "CC0", size_mb=12.5, size_estimated=True, ap={"box": 1.0, "mask": 2.5},
        label="Net", schedule="1x", recipe="mask_rcnn_r50_fpn", golden="`a`",
    )  # fmt: skip
    assert script.row(entry) == (
        "| [`lab/net`](https://x.org/a) | Net, 1x | *12.5 MB* | 1.0 / mask 2.5 | `a` | `mask_rcnn_r50_fpn` |\n"
    )
