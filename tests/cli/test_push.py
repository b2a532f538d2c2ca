from __future__ import annotations

import sys

import mrcnn
from tests.cli.runner import invoke, refused


def test_it_passes_on_what_was_said(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(mrcnn, "push_to_hub", lambda *args, **options: asked.append((args, options)) or "https://h/c/1")
    assert invoke("push", tmp_path, "hf://lab/nuts").output == "https://h/c/1\n"
    assert invoke("push", tmp_path, "hf://lab/nuts", "--license", "mit", "--private", "--last").exit_code == 0
    assert asked == [
        ((tmp_path, "hf://lab/nuts"), {"license": "unknown", "private": None, "last": False}),
        ((tmp_path, "hf://lab/nuts"), {"license": "mit", "private": True, "last": True}),
    ]


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    assert "expected the folder of a training run" in refused("push", tmp_path, "hf://lab/nuts")
    assert "expected hf://user/repo" in refused("push", tmp_path, "lab/nuts")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "expected the folder of a training run" in refused("push", tmp_path / "none", "hf://lab/nuts")
