"""HTML that hostile names cannot break: text is escaped where it becomes markup, data where it enters a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

from mrcnn.text import printable

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def text(value: object) -> str:
    """Text as HTML: control characters and those that reorder a line are shown as escapes.

    Example:
        >>> text("<b>&")
        '&lt;b&gt;&amp;'
    """
    return escape(printable(value))


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for what does not exist.

    Example:
        >>> number(0.12345), number(None)
        ('0.123', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def data_script(name: str, value: Any) -> str:
    """Data for the page's script, as JSON that cannot end the element it stands in.

    Example:
        >>> data_script("d", "</script>")
        '<script type="application/json" id="d">"\\\\u003c/script>"</script>'
    """
    content = json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{content}</script>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], css: str = "") -> str:
    """A table whose cells are HTML already; the first column names the rows."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="{css}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def section(name: str, title: str, content: str, note: str = "") -> str:
    """A part of the page; `note` explains it, as HTML."""
    explained = f'<p class="note">{note}</p>' if note else ""
    return f'<section id="{name}"><h2>{text(title)}</h2>{explained}{content}</section>'


def document(title: str, generator: str, body: str, scripts: Sequence[str] = ()) -> str:
    """A whole page with the package's own style; the policy in its head forbids every request.

    Args:
        title: plain text.
        generator: what wrote it, by which it is known when it may be replaced.
        body: HTML.
        scripts: names of files of this package, run in their order after the body.
    """
    code = "".join(f"<script>{read_asset(name)}</script>" for name in scripts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{text(generator)}">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{read_asset('style.css')}</style></head>\n"
        f"<body>{body}{code}</body></html>\n"
    )


def read_asset(name: str) -> str:
    """The text of a file of this package."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
