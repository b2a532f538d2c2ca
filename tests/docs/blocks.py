"""The code blocks of the docs, and how each is tested.

A comment on the line before a block says what is special about it:

    <!-- test: skip, REASON -->          it is not run
    <!-- test: slow -->                  it is run with `pytest -m slow`
    <!-- test: slow, needs FILE -->      which is a file of the folder it is run in
    <!-- test: slow, without FOLDER -->  which the block makes itself
    <!-- test: continues -->             it is run after the block before it, in one process

Blocks of Python whose first line is a comment with a file name, `# brightness.py`, are that file, and stand there for
all blocks of the same page; a `# test_brightness.py` is run by pytest.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")) if path.is_file()
)
LANGUAGES = ("python", "py", "sh", "bash", "console")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- test: (.*?) -->\n\Z")
_FILE = re.compile(r"\A# ([\w/]+\.py)\n")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: Path
    line: int  # of the fence, from 1
    language: str
    code: str
    notes: tuple[str, ...] = ()  # of its comment, at commas
    before: str = ""  # code of the blocks it continues

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def skip(self) -> str | None:
        """Why it is not run; "" without a reason; None: it is run."""
        return ", ".join(self.notes[1:]) if "skip" in self.notes else None

    @property
    def is_slow(self) -> bool:
        """Whether it is left to `pytest -m slow`."""
        return "slow" in self.notes

    @property
    def file(self) -> str | None:
        """The file that it is, for other blocks of its page to import."""
        match = _FILE.match(self.code) if self.language == "python" else None
        return match[1] if match else None

    @property
    def is_test(self) -> bool:
        """Whether it is a file of tests, which pytest runs."""
        return Path(self.file or "").name.startswith("test_")


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are code."""
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for fence in _FENCE.finditer(text):
        if fence[1] not in LANGUAGES:
            continue
        comment = _COMMENT.search(text[: fence.start()])
        notes = tuple(note.strip() for note in comment[1].split(",")) if comment else ()
        before = ""
        if "continues" in notes:
            before = blocks[-1].before + blocks[-1].code
        line = text.count("\n", 0, fence.start()) + 1
        blocks.append(Block(page, line, fence[1], fence[2], notes, before))
    return blocks


ALL = [block for page in PAGES for block in blocks_of(page)]
