"""The page of a data set as text, and as Chromium shows it where that is installed."""

from __future__ import annotations

import json
import re
import subprocess
from html import unescape

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation
from tests.report.scenes import HOSTILE
from tests.report.test_html import ASKS
from tests.report.test_page import CHROMIUM, FIRST, Elements

LAST = """<script>
  const choose = (id, value) => { const element = document.getElementById(id); element.value = value;
    element.dispatchEvent(new Event('change')); };
  const count = (selector) => document.querySelectorAll(selector).length;
  const answer = { cards: count('.card'), every: count('.card path'), issues: count('.issue'),
    crops: count('.issue .crop path'), hidden: document.getElementById('more').offsetHeight };
  choose('by-class', '1'); answer.some = count('.card path'); choose('by-class', '');
  choose('by-split', 'val'); answer.val = count('.card'); choose('by-split', '');
  choose('order', 'most'); answer.first = document.querySelector('.card span').textContent;
  choose('issue-kind', 'tiny object'); answer.tiny = count('.issue');
  choose('issue-class', '2'); answer.none = count('.issue');
  document.querySelector('.files button').click(); answer.one = count('.card');
  Object.assign(answer, { alerts: window.alerted || 0,
    wide: document.documentElement.scrollWidth - window.innerWidth });
  document.body.dataset.answer = JSON.stringify(answer);
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Five images with hostile names: a tiny object, two that are the same, and an image that is cut off."""
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset()
    for class_id, name in enumerate(HOSTILE, start=1):
        dataset.add_class("made", class_id, name)
    rng = np.random.default_rng(0)
    for number in range(5):
        path = folder / f"{number} & <b>.png"
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)).save(path)
        boxes = [(4, 6, 30, 40), (50, 60, 80, 110)][: 1 + number % 2]
        annotations = [Annotation(1 + i, box, annotation_id=10 * number + i) for i, box in enumerate(boxes)]
        if number == 3:
            annotations += [Annotation(1, (20, 20, 21, 21), annotation_id="<i>"), annotations[1]]
        split = "val" if number == 4 else "train"
        dataset.add_image("made", f"{number}<u>", path, height=90, width=120, annotations=annotations, split=split)
    broken = folder / "0 & <b>.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    report = mrcnn.inspect(dataset, out=folder / "out", num_samples=1)
    assert {issue.kind for issue in report.suspicions} == {"tiny object", "duplicate object", "class without objects"}
    assert [issue.kind for issue in report.issues] == ["image"]
    return folder / "out/inspect.html"


def test_hostile_names_stay_text_and_nothing_is_asked_for(page):
    content = page.read_text()
    tags = Elements(content).tags
    assert [tag for tag, _ in tags].count("script") == 3 and not any("onerror" in attributes for _, attributes in tags)
    assert not any(tag in ("img", "link", "iframe", "object", "base", "i>", "u", "u>") for tag, _ in tags)
    for tag, attributes in tags:
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, name)
    assert not any(name in content for name in HOSTILE)
    assert set(ASKS.findall(re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", content))) <= {"http://www.w3.org"}
    anchors = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert anchors == {f"#{attributes['id']}" for tag, attributes in tags if tag == "section"}
    assert "3 x 4 pixels" not in content and "4 of 5 images are shown" in content


def test_of_an_empty_set(tmp_path):
    mrcnn.inspect(Dataset(), out=tmp_path)
    content = (tmp_path / "inspect.html").read_text()
    assert "No objects" in content and "<p>None.</p>" in content and content.endswith("</html>\n")


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
    assert values == {
        "cards": 4, "every": 8, "issues": 4, "crops": 2, "hidden": 0, "some": 5, "val": 1, "first": "4 objects",
        "tiny": 1, "none": 0, "one": 1, "alerts": 0, "wide": values["wide"],
    } and values["wide"] <= 0  # fmt: skip
