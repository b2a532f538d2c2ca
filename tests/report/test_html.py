from __future__ import annotations

import json
import re

from mrcnn.report.html import data_script, document, number, read_asset, table, text
from tests.report.scenes import HOSTILE

ASKS = re.compile(r"""(?:https?:)?//[\w.-]+\.\w+|@import|url\(|\bfetch\(|XMLHttp|innerHTML|outerHTML|eval\(""")


def test_text_is_escaped_and_cannot_reorder_a_line():
    assert text("<b>\"'&") == "&lt;b&gt;&quot;&#x27;&amp;"
    assert text("a\u202eb\n") == "a\\u202eb\\n"


def test_data_come_back_and_cannot_end_their_element():
    value = {"names": [*HOSTILE, "<!--", "]]>"], "n": 0.5}
    script = data_script("data", value)
    content = re.fullmatch(r'<script type="application/json" id="data">(.*)</script>', script, re.DOTALL)[1]
    assert "<" not in content and json.loads(content) == value


def test_numbers_and_tables():
    assert number(None) == "–" and number(0.98765, 2) == "0.99"
    assert table(["a"], [["b", "c"]]).count("<th") == 3  # <thead> is one


def test_a_document_asks_for_nothing():
    page = document(HOSTILE[0], "mrcnn evaluate 1", "<p>x</p>", ["draw.js", "gallery.js"])
    assert "default-src 'none'" in page and "<script>alert" not in page
    for source in (page, read_asset("style.css"), read_asset("draw.js"), read_asset("gallery.js")):
        assert set(ASKS.findall(source)) <= {"http://www.w3.org"}  # the name of SVG's elements
