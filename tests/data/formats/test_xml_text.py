from __future__ import annotations

from pathlib import Path

import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.xml_text import parse_xml, read_xml, xml_root_tag

ENTITY = b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'


def test_plain_xml(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes("\ufeff<?xml version='1.0' encoding='utf-8'?><a x='1'><b>ü &lt;</b></a>".encode())
    root = read_xml(tmp_path / "a.xml")
    assert (root.tag, root.get("x"), root.findtext("b")) == ("a", "1", "ü <")
    assert xml_root_tag(tmp_path / "a.xml") == "a"


@pytest.mark.parametrize(
    "data, message",
    [
        (ENTITY, "line 1: a document type or entity"),
        (b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>', "document type"),
        (b"<a><b>", "not valid XML"),
        (b"", "not valid XML"),
        (b"<a>&e;</a>", "not valid XML"),
        (b"<a>" * 200 + b"</a>" * 200, "more than 100 deep"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_xml(data, "file.xml")


def test_the_root_of_files_of_any_kind(tmp_path: Path) -> None:
    for name, data, tag in (
        ("a", ENTITY, None),
        ("b", b"{}", None),
        ("c", b"", None),
        ("d", b"<a><b>", "a"),
        ("e", b"<", None),
    ):
        (tmp_path / name).write_bytes(data)
        assert xml_root_tag(tmp_path / name) in (tag, "a" if name == "a" else tag)
    assert xml_root_tag(tmp_path / "absent") is None
