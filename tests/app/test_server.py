"""What is refused before anything is served."""

from __future__ import annotations

import builtins
import os

import pytest
import requests

import mrcnn
from mrcnn.app import server
from mrcnn.app.server import INSTALL
from mrcnn.errors import DependencyError
from tests.blob_finder import BlobFinder


def test_without_gradio_it_says_what_to_install(monkeypatch):
    whole = builtins.__import__

    def without(name, *args, **options):
        if name.partition(".")[0] == "gradio":
            raise ImportError(name)
        return whole(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    with pytest.raises(DependencyError, match=r"pip install 'mrcnn-keras\[app\]'"):
        mrcnn.launch_app(BlobFinder())
    assert "mrcnn-keras[app]" in INSTALL and os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(mrcnn.DataError, match="a folder without images"):
        mrcnn.launch_app(BlobFinder(), tmp_path)


@pytest.mark.slow
def test_a_taken_port_is_named_and_closing_removes_saved_labels():
    pytest.importorskip("gradio", reason="needs the extra app")
    with mrcnn.launch_app(BlobFinder()) as page:
        port = int(page.url.rstrip("/").rpartition(":")[2])
        assert page.url.startswith("http://127.0.0.1:") and len(list(server._own_folder().glob("labels.*"))) == 1
        with pytest.raises(mrcnn.InputError, match=rf"port {port} of 127\.0\.0\.1: cannot be listened at"):
            mrcnn.launch_app(BlobFinder(), port=port)
    assert not list(server._own_folder().glob("labels.*"))


@pytest.mark.slow
def test_a_proxy_of_the_environment_is_not_asked_for_the_own_page(monkeypatch):
    pytest.importorskip("gradio", reason="needs the extra app")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    with mrcnn.launch_app(BlobFinder()) as page:
        direct = requests.Session()
        direct.trust_env = False
        assert direct.get(page.url, timeout=60).ok
    assert os.environ["NO_PROXY"] == "example.org" and "no_proxy" not in os.environ
