from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.weights import fetch, hub
from mrcnn.weights.cache import downloaded_weights
from mrcnn.weights.download import download_weights, local_file, remove_download
from mrcnn.weights.fetch import DownloadError
from mrcnn.weights.hub import HubAddress, parse_address
from tests.weights.file_server import Behavior
from tests.weights.hub_server import hub as hub_fixture
from tests.weights.hub_server import stored_elsewhere

site = hub_fixture  # under a name of its own beside the module
CONTENT = bytes(range(256)) * 1024  # 256 KiB


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch, "_WAIT", 0.001)
    monkeypatch.setattr(fetch, "TIMEOUT", (2.0, 0.3))


@pytest.fixture
def client():
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (pip install 'mrcnn-keras[hf]')")


@pytest.mark.parametrize(
    "text, address",
    [
        ("hf://lab/nuts", HubAddress("lab/nuts")),
        ("hf://lab/nuts/", HubAddress("lab/nuts")),
        (str(Path("hf://lab/nuts")), HubAddress("lab/nuts")),
        ("hf://lab/nuts@v1.0", HubAddress("lab/nuts", "v1.0")),
        ("hf://lab/nuts/a/b.pth", HubAddress("lab/nuts", None, "a/b.pth")),
        ("hf://lab/nuts@refs%2Fpr%2F1/b.pth", HubAddress("lab/nuts", "refs/pr/1", "b.pth")),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["hf://", "hf://lab", "hf:///", "hf://lab/nuts@", "hf://lab/nuts/../x", "hf://a b/c"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(DownloadError, match="expected hf://user/repo"):
        local_file(text)


def test_an_address_includes_what_is_under_it():
    whole, part = parse_address("hf://lab/nuts"), parse_address("hf://lab/nuts@v1/a.pth")
    assert whole.includes(part) and part.includes(part) and not part.includes(whole)
    assert not parse_address("hf://lab/nut").includes(part) and not parse_address("hf://lab/nuts@v2").includes(part)


def test_without_the_package_one_sentence_says_how_to_install_it(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DownloadError) as error:
        local_file("hf://lab/nuts")
    assert str(error.value) == "hf:// needs huggingface_hub: pip install 'mrcnn-keras[hf]'"
    assert site.requests == []


def test_plain_http_is_for_this_machine_only(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.com")
    with pytest.raises(DownloadError, match="only https"):
        local_file("hf://lab/nuts")


def test_a_file_is_fetched_once_and_kept_until_it_is_asked_for_anew(client, site):
    first = site.commit("lab/nuts", {"README.md": b"#", "model.safetensors": CONTENT})
    site.licenses["lab/nuts"] = "cc-by-4.0"
    logged: list[str] = []
    path = download_weights("hf://lab/nuts", log=logged.append)
    assert path.read_bytes() == CONTENT and path.name == "model.safetensors"
    assert logged == [f"hf://lab/nuts@{first[:12]}/model.safetensors: license of these weights: cc-by-4.0"]
    assert [request.split("/")[1] for request in site.requests] == ["api", "lab"]
    assert site.tokens == ["Bearer hf_of_the_test"] * 2
    site.requests.clear()
    site.commit("lab/nuts", {"model.safetensors": CONTENT[::-1]})
    assert local_file("hf://lab/nuts") == local_file(Path("hf://lab/nuts")) == path and site.requests == []
    assert download_weights("hf://lab/nuts", refresh=True).read_bytes() == CONTENT[::-1]
    assert Path(local_file(f"hf://lab/nuts@{first}")).read_bytes() == CONTENT
    assert sorted(stored.name[:17] for stored in downloaded_weights()) == [
        f"hf://lab/nuts@{c[:3]}" for c in sorted(site.repos["lab/nuts"])
    ]


def test_list_and_remove(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    path = download_weights("hf://lab/nuts")
    with pytest.raises(DownloadError, match="has not been downloaded"):
        remove_download("hf://lab/others")
    assert remove_download("hf://lab/nuts") == [path] and not path.exists() and downloaded_weights() == []
    assert download_weights("hf://lab/nuts").read_bytes() == CONTENT and len(site.requests) == 4


def test_which_file(client, site):
    site.commit("lab/one", {"README.md": b"#", "net.pth": CONTENT})
    assert Path(local_file("hf://lab/one")).name == "net.pth"
    site.commit("lab/two", {"a.pth": CONTENT, "b/c.pth": CONTENT[:9]})
    with pytest.raises(DownloadError, match=r"hf://lab/two: which file\? Write one after it: a\.pth, b/c\.pth"):
        local_file("hf://lab/two")
    assert Path(local_file("hf://lab/two/b/c.pth")).read_bytes() == CONTENT[:9]
    with pytest.raises(DownloadError, match=r"no such file; it has a\.pth"):
        local_file("hf://lab/two/d.pth")
    site.commit("lab/none", {"README.md": b"#"})
    with pytest.raises(DownloadError, match=r"no file of weights .*it has README\.md"):
        local_file("hf://lab/none")


def test_what_the_hub_refuses_is_one_line(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    site.gated.add("lab/gated")
    for address, said in (
        ("hf://lab/absent", "no such repository, or a private one: set HF_TOKEN"),
        ("hf://lab/nuts@v9", "no revision 'v9'"),
        ("hf://lab/gated", "its owner lets in those who asked"),
    ):
        with pytest.raises(DownloadError, match=said) as error:
            local_file(address)
        assert "\n" not in str(error.value)
    site.status = 500
    with pytest.raises(DownloadError, match="the Hub answered"):
        local_file("hf://lab/nuts")


def test_a_hub_that_does_not_answer(client, site, monkeypatch, caplog):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    path = download_weights("hf://lab/nuts")
    site.status = 503
    assert download_weights("hf://lab/nuts", refresh=True) == path and "what it stood for before is used" in caplog.text
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9 does not answer"):
        local_file("hf://lab/nuts")


def test_offline(client, site, monkeypatch):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"hf://lab/nuts is not in the cache and MRCNN_OFFLINE is set"):
        local_file("hf://lab/nuts")
    monkeypatch.delenv("MRCNN_OFFLINE")
    path = download_weights("hf://lab/nuts")
    site.requests.clear()
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    assert local_file("hf://lab/nuts") == path
    assert download_weights("hf://lab/nuts", refresh=True) == path and site.requests == []
    path.unlink()
    with pytest.raises(DownloadError, match=r"MRCNN_OFFLINE is set: .* put it at"):
        local_file("hf://lab/nuts")


def test_storage_elsewhere_that_breaks_off_is_asked_for_the_rest_without_the_token(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    behavior = Behavior(CONTENT, break_after=[100_000])
    with stored_elsewhere(site, CONTENT, behavior) as storage:
        assert Path(local_file("hf://lab/nuts")).read_bytes() == CONTENT
        assert storage.requests[0] == "" and storage.requests[1].startswith("bytes=")
        assert storage.tokens == [None] * len(storage.requests) and "Bearer hf_of_the_test" in site.tokens


def test_a_flipped_byte_a_wrong_length_and_a_login_page_never_load(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    flipped = bytearray(CONTENT)
    flipped[9] ^= 1
    page = b"<!DOCTYPE html><title>Sign in</title>".ljust(len(CONTENT))
    for behavior, said in (
        (Behavior(bytes(flipped)), "the sha256 of what arrived begins with"),
        (Behavior(CONTENT, claim=len(CONTENT) - 10, ranges=False), "bytes, expected"),
        (Behavior(CONTENT + b"!"), "bytes, expected"),
        (Behavior(page), "a web page instead of a file"),
    ):
        with stored_elsewhere(site, CONTENT, behavior), pytest.raises(DownloadError, match=said):
            local_file("hf://lab/nuts")
        assert downloaded_weights() == []


@pytest.mark.slow
def test_eight_processes_make_one_download(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    code = "import sys; from mrcnn.weights.download import local_file; print(local_file('hf://lab/nuts'))"
    with stored_elsewhere(site, CONTENT, Behavior(CONTENT, delay=0.002)) as storage:
        children = [subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True) for _ in range(8)]
        outputs = {process.communicate(timeout=60)[0] for process in children}
        assert len(outputs) == 1 and Path(outputs.pop().strip()).read_bytes() == CONTENT
        assert storage.requests == [""]


def test_half_a_record_of_what_an_address_stood_for_is_asked_for_again(client, site):
    site.commit("lab/nuts", {"model.safetensors": CONTENT})
    path = download_weights("hf://lab/nuts")
    [record] = path.parents[1].glob("hub/*.resolved")
    record.write_text(record.read_text()[:40])
    site.requests.clear()
    assert local_file("hf://lab/nuts") == path and len(site.requests) == 1
    assert hub.is_hub_address("hf://lab/nuts") and not hub.is_hub_address("hfx/lab")
