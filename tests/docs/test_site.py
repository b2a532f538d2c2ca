"""The documentation site: what it holds, that it builds, that its links lead somewhere and its pages fit a phone."""

from __future__ import annotations

import html.parser
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
import yaml

import mrcnn

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PHONE, DESK = 390, 1280


class Config(yaml.SafeLoader):
    """mkdocs.yml, whose tags name functions of Python."""


def pages_of(nav) -> set[str]:
    """Files of a navigation."""
    if isinstance(nav, str):
        return {nav}
    entries = nav if isinstance(nav, list) else nav.values()
    return set().union(*map(pages_of, entries))


def test_every_page_and_every_notebook_has_a_place():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Config)
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    there |= {str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert pages_of(config["nav"]) == there


def test_the_reference_has_every_public_name_once():
    names = re.findall(r"^::: mrcnn\.(\w+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(set(mrcnn.__all__) - {"__version__"})


@pytest.fixture
def hooks(monkeypatch):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(DOCS))
    import site_hooks

    return site_hooks


class Pages:
    """Of a site, as mkdocs hands them to a hook."""

    def get_file_from_path(self, path):
        return path if path in ("data.md", "extending/head.md") else None


@pytest.mark.parametrize(
    "page, text, expected",
    [
        ("a.md", "[data](data.md#views)", "[data](data.md#views)"),
        ("extending/x.md", "[data](../data.md)", "[data](../data.md)"),
        ("a.md", "[the op](../custom_ops/roi_align)", "the op (`custom_ops/roi_align`)"),
        ("a.md", "[samples/serve.py](../samples/serve.py)", "samples/serve.py (`samples/serve.py`)"),
        ("a.md", "[see](../notebooks/01.ipynb)", "[see](notebooks/01.ipynb)"),
        ("extending/x.md", "[start](../../README.md)", "[start](../index.md)"),
        ("a.md", "[paper](https://arxiv.org/abs/1) [up](#up)", "[paper](https://arxiv.org/abs/1) [up](#up)"),
        ("a.md", "<!-- test: slow -->\n```sh", "```sh"),
    ],
)  # fmt: skip
def test_links_out_of_the_docs_become_text(hooks, page, text, expected):
    class Page:
        class file:
            src_uri = page

    assert hooks.on_page_markdown(text, Page, None, Pages()) == expected


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


class Links(html.parser.HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values["href"])


@pytest.mark.slow
def test_no_link_is_dead_and_nothing_is_asked_of_another_host(site):
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 25
    dead = []
    for path, page in pages.items():
        for target in (*page.links, *page.loaded):
            parts = urllib.parse.urlsplit(target)
            if parts.scheme or parts.netloc:
                assert target in page.links or parts.scheme == "data", f"{path.name} loads {target}"
                continue
            place = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            place = place / "index.html" if place.is_dir() else place
            if path.name == "404.html":  # whose links begin at the root
                continue
            if not place.exists() or (parts.fragment and place in pages and parts.fragment not in pages[place].anchors):
                dead.append(f"{path.relative_to(site)}: {target}")
    assert not [line for line in dead if "#__" not in line]


@pytest.mark.slow
def test_pages_fit_a_phone_and_a_desk(site):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if path.name != "404.html")
    frames = "".join(
        f'<iframe width="{width}" height="600" src="{name}"></iframe>' for name in names for width in (PHONE, DESK)
    )
    script = (
        "addEventListener('load', () => { for (const frame of document.querySelectorAll('iframe')) {"
        " const page = frame.contentDocument.documentElement;"
        " frame.setAttribute('over', page.scrollWidth - frame.clientWidth) } })"
    )
    (site / "all.html").write_text(f"<!doctype html><body>{frames}<script>{script}</script></body>")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    done = subprocess.run([*command, (site / "all.html").as_uri()], capture_output=True, text=True, timeout=120)
    over = re.findall(r'<iframe width="(\d+)" height="600" src="([^"]+)" over="(-?\d+)"', done.stdout)
    assert len(over) == 2 * len(names), done.stdout[-2000:]
    assert not [(name, width, by) for width, name, by in over if int(by) > 0]
