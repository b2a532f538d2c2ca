"""Write the tables of docs/model_zoo.md from mrcnn/weights/zoo.json: python docs/zoo_tables.py"""

from __future__ import annotations

import re
from pathlib import Path

from mrcnn.weights.zoo import ZooEntry, published_weights

PAGE = Path(__file__).with_name("model_zoo.md")
_TABLE = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end of table -->", re.DOTALL)
_HEAD = "| name | network | size | AP box / other | golden | recipe |\n|---|---|---|---|---|---|\n"


def row(entry: ZooEntry) -> str:
    """One line of a table."""
    numbers = {
        "": entry.ap.get("box"),
        "mask ": entry.ap.get("mask"),
        "kp ": entry.ap.get("keypoints"),
        "AP50 ": entry.ap.get("box_50"),
        "top-1 ": entry.ap.get("top_1"),
    }
    ap = " / ".join(f"{what}{number}" for what, number in numbers.items() if number is not None) or "none published"
    network = f"{entry.label}, {entry.schedule}" if entry.schedule else entry.label
    size = "" if entry.size_mb is None else f"{entry.size_mb:g} MB"
    size = f"*{size}*" if entry.size_estimated else size
    recipe = f"`{entry.recipe}`" if entry.recipe else ""
    return f"| [`{entry.name}`]({entry.url}) | {network} | {size} | {ap} | {entry.golden} | {recipe} |\n"


def table(group: str) -> str:
    """The table of a group of entries, between its markers."""
    rows = [row(entry) for entry in published_weights().values() if entry.group == group]
    if not rows:
        raise ValueError(f"{PAGE}: no entry of zoo.json has the group {group!r}")
    return f"<!-- table: {group} -->\n{_HEAD}{''.join(rows)}<!-- end of table -->"


def page(text: str) -> str:
    """The page with every table as it should be."""
    return _TABLE.sub(lambda match: table(match[1]), text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
