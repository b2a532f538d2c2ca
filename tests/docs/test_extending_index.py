"""docs/extending.md lists every page of docs/extending, and no other."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_every_addition_is_in_the_index() -> None:
    linked = re.findall(r"\]\(extending/(\w+\.md)\)", (DOCS / "extending.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(path.name for path in (DOCS / "extending").glob("*.md"))
    assert len(linked) == len(set(linked)) >= 7
