"""XML of annotation files: no document types, no entities, bounded depth."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.parsers import expat

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import read_bytes

Element = ElementTree.Element
_MAX_DEPTH = 100  # annotation files have fewer than ten


class _Refused(Exception):
    pass


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    A document type or an entity is refused: the first may name files and URLs, the second grow without bound, and no
    annotation tool writes either.

    Raises:
        DataError: missing, not XML, cut off, or with a document type; names the file and the line.
    """
    return parse_xml(read_bytes(path), str(path))


def parse_xml(data: bytes, where: str) -> Element:
    """XML text as an element; errors as for `read_xml`, beginning with `where`.

    Example:
        >>> parse_xml(b"<a><b>1</b></a>", "text").findtext("b")
        '1'
    """
    builder, depth = ElementTree.TreeBuilder(), 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise _Refused(f"elements are nested more than {_MAX_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise _Refused("a document type or entity is declared, which annotation files have no use for")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except _Refused as error:
        raise DataError(f"{where}: line {parser.CurrentLineNumber}: {error}") from error
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise DataError(f"{where}: not valid XML ({error})") from error


def xml_root_tag(path: Path) -> str | None:
    """The name of the first element of a file, from its first bytes; None: it is no XML."""
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED)
    except OSError:
        return None
    if not start.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").startswith(b"<"):
        return None
    tags: list[str] = []
    parser = expat.ParserCreate()

    def first(tag: str, _: dict[str, str]) -> None:
        tags.append(tag)
        raise _Refused

    parser.StartElementHandler = first
    with contextlib.suppress(_Refused, expat.ExpatError, ValueError):
        parser.Parse(start, False)
    return tags[0] if tags else None


_SNIFFED = 65536
