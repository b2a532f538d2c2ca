"""The page as text, and as Chromium shows it where that is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest

from mrcnn.report.comparison import compare_reports
from mrcnn.report.page import SECTIONS
from tests.report.scenes import HOSTILE, Scenes, evaluated

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIRST = """<script>window.onerror = (message) => { document.body.dataset.error = message; };
  window.alert = () => { window.alerted = 1; };</script>"""
LAST = """<script>
  const choose = (id, value) => { const element = document.getElementById(id); element.value = value;
    element.dispatchEvent(new Event(id === 'score' ? 'input' : 'change')); };
  const count = (selector) => document.querySelectorAll(selector).length;
  const predicted = '.pair svg:last-child path', answer = { first: count(predicted) };
  choose('score', '1'); answer.none = count(predicted);
  choose('score', '0'); answer.every = count(predicted);
  choose('by-error', 'missed'); answer.missed = count('.card');
  choose('by-error', 'duplicate'); choose('by-class', '1'); answer.fewer = count(predicted);
  document.querySelector('.files button').click(); answer.one = count('.card');
  Object.assign(answer, { crops: count('.crop path'), alerts: window.alerted || 0,
    wide: document.documentElement.scrollWidth - window.innerWidth });
  document.body.dataset.answer = JSON.stringify(answer);
</script></body>"""


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    report, result = evaluated(Scenes(14))
    return report.save(tmp_path_factory.mktemp("page"), result)[0]


def test_hostile_names_stay_text_and_nothing_is_asked_for(page):
    content = page.read_text()
    tags = Elements(content).tags
    assert [tag for tag, _ in tags].count("script") == 3 and not any("onerror" in attributes for _, attributes in tags)
    assert not any(tag in ("img", "link", "iframe", "object", "base", "i>") for tag, _ in tags)
    for tag, attributes in tags:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, name)
    for name in HOSTILE:
        assert name not in content
    anchors = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert anchors == {f"#{attributes['id']}" for tag, attributes in tags if tag == "section"}
    assert {f"#{name}" for name in SECTIONS} < anchors


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [500, 1280])
def test_chromium_draws_it_and_its_filters_work(page, tmp_path, width):
    """No message, nothing runs that a name smuggled in, and nothing is wider than the window."""
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text().replace("<header>", f"{FIRST}<header>", 1).replace("</body>", LAST))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--window-size={width},900"]
    shown = subprocess.run([*command, probe.as_uri()], capture_output=True, text=True, timeout=240, check=False)
    answer = re.search(r'<body data-answer="([^"]*)"', shown.stdout)
    assert answer and "data-error" not in shown.stdout, shown.stdout[:300] + shown.stderr[-2000:]
    values = json.loads(unescape(answer[1]))
    assert values["alerts"] == 0 and values["none"] == 0 and values["wide"] <= 0 and values["crops"] > 10
    assert 0 < values["fewer"] < values["first"] < values["every"] and values["missed"] and values["one"] == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_chromium_draws_a_comparison(tmp_path):
    dataset = Scenes(3)
    for name, shift in (("a", 0), ("b", 4)):
        report, result = evaluated(dataset, shift=shift)
        report.save(tmp_path / name, result)
    page, _ = compare_reports([tmp_path / "a", tmp_path / "b"], num_samples=10).save(tmp_path)
    last = "<script>document.body.dataset.answer = document.querySelectorAll('.card path').length;</script></body>"
    page.write_text(page.read_text().replace("<header>", f"{FIRST}<header>", 1).replace("</body>", last))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout
    answer = re.search(r'<body data-answer="(\d+)"', shown)
    assert answer and int(answer[1]) > 40 and "data-error" not in shown, shown[:300]
