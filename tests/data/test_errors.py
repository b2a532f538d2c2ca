from __future__ import annotations

import logging

import pytest

from mrcnn.data.errors import DataError, DatasetIssue, log_file, refuse, warn
from mrcnn.errors import MrcnnError


def test_messages_cannot_drive_a_terminal() -> None:
    error = DataError("a\x1b[2Jb.png: line one\nline two\r")
    assert isinstance(error, MrcnnError) and isinstance(error, ValueError)
    assert str(error) == "a\\x1b[2Jb.png: line one\nline two\\r"
    issue = DatasetIssue("kind", "two\nlines", image_id="\x1b[2J", annotation_id=3, path="a\nb.json")
    assert str(issue) == r"a\nb.json, image \x1b[2J, annotation 3: two\nlines"
    assert str(DatasetIssue("kind", "message")) == "data set: message"


def test_fatal_issues_are_refused_together_and_counted() -> None:
    refuse([])
    refuse([DatasetIssue("a", "kept")])
    with pytest.raises(DataError) as error:
        refuse([DatasetIssue("a", f"m{i}", fatal=True) for i in range(8)] + [DatasetIssue("b", "kept")])
    assert str(error.value).splitlines() == [*(f"data set: m{i}" for i in range(5)), "and 3 more"]


def test_issues_of_a_file_are_one_line(caplog) -> None:
    issues = [
        DatasetIssue("a", "x"),
        DatasetIssue("b", "x"),
        DatasetIssue("b", "x"),
        DatasetIssue("c", "x", fatal=True),
    ]
    with caplog.at_level(logging.WARNING, "mrcnn"):
        warn(issues, "set.json")
        warn([], "none.json")
    assert caplog.messages == ["set.json: corrected or left out 2 x b, 1 x a; see Dataset.issues"]


def test_remarks_on_files_are_few(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "mrcnn"):
        for _ in range(2):
            for i in range(6):
                log_file("kind", str(tmp_path / f"{i}.png"), "remark")
        log_file("other", str(tmp_path / "5.png"), "remark")
    assert len(caplog.messages) == 4
    assert caplog.messages[2].endswith("remark (not logged for further files of this folder)")
