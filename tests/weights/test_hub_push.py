from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.weights.fetch import DownloadError
from tests.cli.runner import invoke, refused
from tests.weights.hub_server import hub as hub_fixture
from tests.weights.test_model_card import small_run

site = hub_fixture
NEEDED = "needs huggingface_hub (pip install 'mrcnn-keras[hf]')"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return small_run(tmp_path_factory.mktemp("push") / "run")


@pytest.mark.slow
def test_a_run_is_pushed_and_loads_from_there(run, site):
    pytest.importorskip("huggingface_hub", reason=NEEDED)
    result = invoke("push", run, "hf://lab/nuts", "--license", "cc0-1.0")
    assert result.exit_code == 0, result.output
    [commit] = site.repos["lab/nuts"]
    assert f"{site.url}/lab/nuts/commit/{commit}" in result.output.replace("\n", "")
    files = site.repos["lab/nuts"][commit]
    assert set(files) == {"README.md", "model.safetensors", "recipe.yaml", "history.csv", "curves.png"}
    assert files["model.safetensors"] == (run / "best.safetensors").read_bytes()
    assert files["README.md"].startswith(b"---\nlicense: cc0-1.0\n")
    model = mrcnn.MaskRCNN.from_preset("hf://lab/nuts")
    assert model.class_names == ("nut", "bolt *M3*")
    expected = mrcnn.load_pretrained(run / "best.safetensors")
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert "nut" in invoke("weights", "hf://lab/nuts").output
    assert invoke("push", run, "hf://lab/nuts", "--last").exit_code == 0 and len(site.repos["lab/nuts"]) == 2
    assert mrcnn.load_weights(model, "hf://lab/nuts").missing == ()


def test_no_token_and_a_hub_that_fails(run, site, monkeypatch):
    pytest.importorskip("huggingface_hub", reason=NEEDED)
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN" in refused("push", run, "hf://lab/nuts")
    assert site.repos == {}
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    site.status = 500
    assert "hf://lab/nuts" in refused("push", run, "hf://lab/nuts")


def test_without_the_package_one_sentence_says_how_to_install_it(run, site, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused("push", run, "hf://lab/nuts").endswith("pip install 'mrcnn-keras[hf]'")
    assert site.requests == []


def test_nothing_is_uploaded_of_what_is_no_whole_run(run, site, tmp_path):
    with pytest.raises(mrcnn.WeightsError, match="expected the folder of a training run"):
        mrcnn.push_to_hub(tmp_path, "hf://lab/nuts")
    with pytest.raises(DownloadError, match="without a file"):
        mrcnn.push_to_hub(run, "hf://lab/nuts/model.safetensors")
    damaged = bytearray((run / "model.safetensors").read_bytes())
    damaged[-9] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(damaged))
    with pytest.raises(mrcnn.WeightsError):
        mrcnn.push_to_hub(tmp_path, "hf://lab/nuts")
    assert site.requests == []
