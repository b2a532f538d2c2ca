"""The page in Chromium, over a stand-in for the model whose answers are known: red 0.9, green 0.6, blue 0.3."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.app import detector
from tests.app.test_uploads import REFUSED
from tests.blob_finder import BlobFinder, image

pytest.importorskip("gradio", reason="needs the extra app")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (make page)")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]

SIDE, DRAWN = 128, 1024  # of the images, and of their drawings
RED, GREEN, BLUE = (0, 8, 8, 56, 40), (1, 64, 64, 120, 120), (2, 8, 72, 40, 120)
PASTE = """async (bytes) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


def png(*blobs) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image(SIDE, SIDE, *blobs)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def runs():
    """Grows by one with every image that the model sees."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("detect", "detect_tiled"):
            run = getattr(detector, name)

            def counted(*args, run=run, name=name, **options):
                seen.append(name)
                return run(*args, **options)

            patch.setattr(detector, name, counted)
        yield seen


@pytest.fixture(scope="module")
def served(runs, tmp_path_factory):
    folder, asked = tmp_path_factory.mktemp("images"), set()
    watching = True

    def watch(event, args):
        if watching and event == "socket.connect" and isinstance(args[1], tuple):
            asked.add(args[1][0])

    sys.addaudithook(watch)  # cannot be removed
    (folder / "1.png").write_bytes(png(RED, GREEN, BLUE))
    (folder / "2.png").write_bytes(png(GREEN))
    (folder / "3.png").write_bytes(png())
    with mrcnn.launch_app(BlobFinder(), folder) as page:
        yield page
    watching = False
    assert asked <= {"127.0.0.1", "::1", "localhost"}  # of the server


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, served):
    """Opens the page in a browser of its own; at the end, none has asked another machine for anything."""
    contexts, hosts, errors = [], set(), []

    def open_page():
        contexts.append(chromium.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        for event in ("request", "websocket"):
            page.on(event, lambda asked: hosts.add(urllib.parse.urlsplit(asked.url).hostname))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.url)
        says(page, "1.png · 128 x 128 pixels · 2 of 3 instances")  # the first of the folder
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert "127.0.0.1" in hosts <= {"127.0.0.1", None} and not errors  # None: data: and blob: of the page itself


def says(page, text):
    playwright.expect(page.locator("#status")).to_contain_text(text, timeout=60_000)


def drawing(page) -> np.ndarray:
    """What is drawn on the page, u8[1024, 1024, 3]."""
    answer = page.request.get(page.locator("#image img").get_attribute("src"))
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"))


def at(y: int, x: int) -> tuple[int, int]:
    """Of the drawing, the middle of a pixel of the image."""
    return round((y + 0.5) * DRAWN / SIDE), round((x + 0.5) * DRAWN / SIDE)


def upload(page, name, content):
    page.locator("#drop input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})


def click(page, y, x, score):
    """Click the instance at a pixel of the image until its score is shown; a drawing being replaced takes no click."""
    numbers = page.locator("#numbers")
    for _ in range(20):
        box = page.locator("#image img").bounding_box()
        page.mouse.click(box["x"] + (x + 0.5) / SIDE * box["width"], box["y"] + (y + 0.5) / SIDE * box["height"])
        with contextlib.suppress(AssertionError):
            playwright.expect(numbers).to_contain_text(score, timeout=5_000)
            return
    assert score in numbers.inner_text()


def saved(page, format, tmp_path) -> Path:
    page.locator("#format").get_by_text(format, exact=True).click()
    link = page.locator("#file a").first
    before = link.get_attribute("href") if link.count() else None
    page.locator("#save").click()
    says(page, f"as {format}")
    page.wait_for_function("before => document.querySelector('#file a')?.getAttribute('href') !== before", arg=before)
    with page.expect_download() as download:
        link.click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_upload_threshold_click_correct_save_and_read_back(opened, runs, tmp_path):
    page = opened()
    before = len(runs)
    upload(page, "leaf.png", png(RED, GREEN, BLUE))
    says(page, "leaf.png · 128 x 128 pixels · 2 of 3 instances")
    assert len(runs) == before + 1

    # Masks are the left halves of the boxes: there the color is mixed in, on the right it is the image's own.
    pixels, plain = drawing(page), image(SIDE, SIDE, RED, GREEN, BLUE)
    assert pixels.shape == (DRAWN, DRAWN, 3)
    for _, y1, x1, y2, x2 in (RED, GREEN):
        left, right = ((y1 + y2) // 2, (3 * x1 + x2) // 4), ((y1 + y2) // 2, (x1 + 3 * x2) // 4)
        assert np.abs(pixels[at(*left)].astype(int) - plain[left]).max() > 20
        assert np.abs(pixels[at(*right)].astype(int) - plain[right]).max() < 8
    blue = ((BLUE[1] + BLUE[3]) // 2, (3 * BLUE[2] + BLUE[4]) // 4)
    assert np.abs(pixels[at(*blue)].astype(int) - plain[blue]).max() < 8

    page.locator("#threshold input[type=range]").fill("0.2")
    says(page, "3 of 3 instances")
    assert np.abs(drawing(page)[at(*blue)].astype(int) - plain[blue]).max() > 30
    page.locator("#threshold input[type=range]").fill("0.7")
    says(page, "1 of 3 instances")
    page.locator("#threshold input[type=range]").fill("0.2")
    says(page, "3 of 3 instances")
    page.locator("#classes").get_by_text("green (1)").click()
    says(page, "2 of 3 instances")
    page.locator("#classes").get_by_text("green (1)").click()
    says(page, "3 of 3 instances")

    click(page, 20, 12, "0.900")
    numbers = page.locator("#numbers")
    assert re.search(r"red.*area\s*768 px²\s*x\s*8\.0 to 40\.0\s*y\s*8\.0 to 56\.0", numbers.inner_text(), re.DOTALL)
    page.locator("#class input").click()
    page.get_by_role("option", name="blue").click()
    playwright.expect(numbers).to_contain_text("corrected")
    says(page, "1 accepted")
    click(page, 90, 70, "0.600")
    page.locator("#delete").click()
    says(page, "2 of 3 instances · 1 accepted · 1 deleted")
    assert len(runs) == before + 1  # all of this without the model

    (tmp_path / "leaf.png").write_bytes(png())
    coco = mrcnn.load_coco(saved(page, "coco", tmp_path))
    assert coco.class_names == ("red", "green", "blue") and coco.record(0).path.endswith("leaf.png")
    assert [a.class_id for a in coco.annotations(0)] == [3, 3]
    assert coco.annotations(0)[0].box == (8, 8, 56, 40) and coco.instances(0).masks[0].sum() == 48 * 16
    shutil.copy(saved(page, "labelme", tmp_path), tmp_path / "labelme.json")
    labelme = json.loads((tmp_path / "labelme.json").read_text())
    assert [shape["label"] for shape in labelme["shapes"]] == ["blue", "blue"]
    yolo = tmp_path / "yolo"
    yolo.mkdir()
    shutil.copy(saved(page, "yolo", tmp_path), yolo)
    shutil.copy(tmp_path / "leaf.png", yolo)
    read = mrcnn.load_dataset(yolo, classes=["red", "green", "blue"])
    assert read.instances(0).class_ids.tolist() == [3, 3] and read.instances(0).masks[0].sum() == 48 * 16


def test_steps_through_the_folder_with_corrections_kept_and_pastes(opened, runs):
    page = opened()
    click(page, 20, 12, "0.900")
    page.locator("#delete").click()
    says(page, "1 of 3 instances · 1 deleted")
    page.locator("#next").click()
    says(page, "2.png · 128 x 128 pixels · 1 of 1 instances")
    page.locator("#next").click()
    says(page, "3.png · 128 x 128 pixels · 0 of 0 instances")
    page.locator("#next").click()
    says(page, "1.png · 128 x 128 pixels · 1 of 3 instances · 1 deleted")
    page.locator("#previous").click()
    says(page, "3.png")
    page.evaluate(PASTE, list(png(RED)))
    says(page, "image.png · 128 x 128 pixels · 1 of 1 instances")
    before = len(runs)
    page.locator("#mode").get_by_text("in tiles").click()
    playwright.expect(page.locator("#mode input").nth(1)).to_be_checked()
    says(page, "image.png · 128 x 128 pixels")
    for _ in range(300):
        if len(runs) > before:
            break
        page.wait_for_timeout(100)
    assert runs[before:] == ["detect_tiled"]


def test_hostile_files_are_refused_and_the_server_lives(opened, tmp_path):
    page = opened()
    for name, (content, message) in REFUSED.items():
        upload(page, name, content)
        playwright.expect(page.locator("#status")).to_contain_text(re.compile(message), timeout=60_000)
        assert (
            len(page.locator("#status").inner_text().splitlines()) == 1
            and "/tmp" not in page.locator("#status").inner_text()
        )
    upload(page, "../../../etc/<img src=x onerror=alert(1)>.png", b"nothing")
    says(page, "not an image in a known format")
    with (tmp_path / "large.png").open("wb") as file:
        file.write(png())
        file.truncate(30_000_000)
    page.locator("#drop input[type=file]").set_input_files(tmp_path / "large.png")
    playwright.expect(page.get_by_text(re.compile("maximum allowed size|at most 25 MB"))).to_be_visible()
    upload(page, "good.png", png(RED))
    says(page, "good.png · 128 x 128 pixels · 1 of 1 instances")


def test_two_browsers_have_states_of_their_own(opened):
    one, other = opened(), opened()
    one.locator("#threshold input[type=range]").fill("0.2")
    says(one, "3 of 3 instances")
    other.locator("#next").click()
    says(other, "2.png")
    says(one, "1.png · 128 x 128 pixels · 3 of 3 instances")
    other.locator("#next").click()
    one.locator("#next").click()
    says(other, "3.png")
    says(one, "2.png · 128 x 128 pixels · 1 of 1 instances")


def test_two_browsers_at_the_same_time_wait_for_each_other(opened):
    one, other = opened(), opened()
    for page, blob in ((one, RED), (other, GREEN)):
        upload(page, "same.png", png(blob))
    for page, blob, score in ((one, RED, "0.900"), (other, GREEN, "0.600")):
        says(page, "same.png · 128 x 128 pixels · 1 of 1 instances")
        click(page, (blob[1] + blob[3]) // 2, blob[2] + 4, score)
