"""`mrcnn app`, with a server that is only asked for."""

from __future__ import annotations

import mrcnn
from mrcnn.cli import page
from tests.blob_finder import BlobFinder
from tests.cli.runner import NUCLEI, invoke, refused


class Served:
    """A page that ends as soon as it is waited for."""

    url = "http://127.0.0.1:7860/"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def wait(self):
        pass


def test_options_reach_the_page(monkeypatch):
    asked = {}

    def launch(model, data, **options):
        asked.update(options, data=data)
        return Served()

    monkeypatch.setattr(page, "load_for_inference", lambda *_: BlobFinder())
    monkeypatch.setattr(mrcnn, "launch_app", launch)
    result = invoke("app", "--model", "x", "--data", NUCLEI / "images", "--port", 7999, "--quiet")
    assert result.exit_code == 0 and "http://127.0.0.1:7860/" in result.stdout, result.output
    assert asked == {
        "data": str(NUCLEI / "images"), "host": None, "port": 7999, "open_browser": False, "log": None,
    }  # fmt: skip


def test_what_is_wrong_is_refused_before_the_model_is_loaded():
    assert "no such file or folder" in refused("app", "--model", "absent", "--data", "absent")
    assert "--port" in refused("app", "--model", "absent", "--port", "99999")
