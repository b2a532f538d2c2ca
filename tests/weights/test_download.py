import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mrcnn.weights import fetch as module
from mrcnn.weights.cache import downloaded_weights, place_of, remove
from mrcnn.weights.download import DownloadError, download, entry_of_url, local_file
from mrcnn.weights.zoo import Checksum, ZooEntry, ZooError
from tests.weights.file_server import Behavior, serve

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MRCNN_OFFLINE", raising=False)
    monkeypatch.setattr(module, "_WAIT", 0.001)
    monkeypatch.setattr(module, "TIMEOUT", (2.0, 0.3))


def entry_of(server, **changes):
    values = {"name": "lab/net", "family": "mrcnn", "url": server.url, "license": "CC0"}
    return ZooEntry(**{**values, **changes})


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock")) if path.parent.exists() else []


def test_a_file_is_fetched_once():
    with serve(Behavior(CONTENT)) as server:
        logged, seen = [], []
        path = download(entry_of(server), progress=lambda have, total: seen.append((have, total)), log=logged.append)
        assert path.read_bytes() == CONTENT and path.name == "model.bin"
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        assert logged == ["lab/net: license of these weights: CC0"]
        again = download(entry_of(server), log=logged.append)
        assert again == path and len(server.requests) == 1 and len(logged) == 1
        [stored] = downloaded_weights()
        assert stored.size == len(CONTENT) and stored.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("break_after", [[100_000], [50_000, 70_000, 20_000], [100_000] * 9])
def test_a_server_that_breaks_off_is_asked_for_the_rest(break_after):
    with serve(Behavior(CONTENT, break_after=list(break_after))) as server:
        assert download(entry_of(server)).read_bytes() == CONTENT
        assert server.requests[0] == "" and len(server.requests) > len(break_after)
        assert all(asked.startswith("bytes=") for asked in server.requests[1:])
        assert server.sent <= len(CONTENT) + len(break_after) * module.BLOCK


def test_a_server_without_ranges_or_etag_starts_anew():
    for behavior in (
        Behavior(CONTENT, break_after=[5000], ranges=False),
        Behavior(CONTENT, break_after=[5000], etag=""),
    ):
        with serve(behavior) as server:
            assert download(entry_of(server)).read_bytes() == CONTENT


def test_a_file_that_changed_between_two_attempts_starts_anew():
    behavior = Behavior(b"old" * 50_000, etag='"old"', break_after=[60_000] + [0] * 20)
    with serve(behavior) as server:
        with pytest.raises(DownloadError, match="49152 bytes arrived, then 6 attempts"):
            download(entry_of(server))
        behavior.content, behavior.etag, behavior.break_after = CONTENT, '"new"', []
        assert download(entry_of(server)).read_bytes() == CONTENT


def test_a_stalling_server_is_given_up_and_asked_again():
    with serve(Behavior(CONTENT, stall_after=[300_000])) as server:
        assert download(entry_of(server)).read_bytes() == CONTENT
        assert len(server.requests) == 2


def test_errors_of_the_server():
    with serve(Behavior(CONTENT, status=[503, 429])) as server:
        assert download(entry_of(server)).read_bytes() == CONTENT
    with serve(Behavior(CONTENT, status=[404])) as server:
        with pytest.raises(DownloadError, match=r"model\.bin: the server answered 404"):
            download(entry_of(server))
        assert leftovers(place_of(entry_of(server))) == []


@pytest.mark.parametrize("claim", [len(CONTENT) + 10, len(CONTENT) - 10])
def test_a_server_that_lies_about_the_length_gives_no_file(claim):
    with serve(Behavior(CONTENT, claim=claim, ranges=False)) as server:
        entry = entry_of(server, checksum=Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()))
        with pytest.raises(DownloadError):
            download(entry)
        assert not place_of(entry).exists()


def test_no_length_is_taken_with_a_checksum_only_of_the_right_file():
    whole = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
    with serve(Behavior(CONTENT, claim=-1)) as server:
        assert download(entry_of(server, checksum=whole)).read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_flipped_byte_never_gets_the_name(algorithm):
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    flipped = bytearray(CONTENT)
    flipped[500_000] ^= 1
    behavior = Behavior(bytes(flipped))
    with serve(behavior) as server:
        entry = entry_of(server, checksum=Checksum(algorithm, digest[:6]))
        with pytest.raises(DownloadError, match=f"the {algorithm} of what arrived begins with"):
            download(entry)
        assert leftovers(place_of(entry)) == []
        behavior.content, behavior.etag = CONTENT, '"2"'
        assert download(entry).read_bytes() == CONTENT


def test_a_file_without_checksum_is_pinned():
    behavior = Behavior(CONTENT)
    with serve(behavior) as server:
        download(entry_of(server))
        [stored] = downloaded_weights()
        remove(stored)
        assert downloaded_weights() == [] and not stored.path.exists()
        behavior.content, behavior.etag = b"other" + CONTENT, '"2"'
        with pytest.raises(DownloadError, match=r"the file there has changed.*pins\.json"):
            download(entry_of(server))
        assert not stored.path.exists()


def test_a_file_damaged_on_disk_is_fetched_again():
    with serve(Behavior(CONTENT)) as server:
        path = download(entry_of(server))
        damaged = bytearray(CONTENT)
        damaged[7] ^= 4
        path.write_bytes(bytes(damaged))
        assert download(entry_of(server)).read_bytes() == CONTENT
        assert len(server.requests) == 2


def test_offline(monkeypatch):
    with serve(Behavior(CONTENT)) as server:
        path = download(entry_of(server))
        monkeypatch.setenv("MRCNN_OFFLINE", "1")
        assert download(entry_of(server)) == path
        remove(downloaded_weights()[0])
        with pytest.raises(DownloadError) as error:
            download(entry_of(server, size_mb=12.0))
        assert server.url in str(error.value) and "about 12 MB" in str(error.value) and str(path) in str(error.value)
        assert len(server.requests) == 1


def test_offline_a_file_put_in_its_place_is_taken_if_it_is_the_right_one(monkeypatch):
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    digest = hashlib.sha256(CONTENT).hexdigest()
    entry = ZooEntry("lab/net", "mrcnn", "https://example.com/model.bin", "CC0", checksum=Checksum("sha256", digest))
    path = place_of(entry)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match="damaged or another file and MRCNN_OFFLINE is set"):
        download(entry)
    path.write_bytes(CONTENT)
    assert download(entry) == path and [stored.sha256 for stored in downloaded_weights()] == [digest]
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DownloadError, match="damaged"):
        download(entry)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a.pth", "ftp://example.com/a", "file:///etc/passwd", "https:///a", "http://127.0.0.1.x.y/a"],
)
def test_only_https_and_this_machine(url):
    with pytest.raises(DownloadError, match="only https"):
        download(entry_of_url(url))


def test_a_redirect_to_plain_http_is_refused():
    with serve(Behavior(redirect="http://example.com/model.bin")) as server:
        with pytest.raises(DownloadError, match=r"redirects to http://example\.com/model\.bin: only https"):
            download(entry_of(server))
        assert len(server.requests) == 1
    with serve(Behavior(CONTENT)) as there, serve(Behavior(redirect=there.url)) as server:
        assert download(entry_of(server)).read_bytes() == CONTENT


def test_an_endless_redirect_ends():
    behavior = Behavior()
    with serve(behavior) as server:
        behavior.redirect = server.url
        with pytest.raises(DownloadError, match="more than 10 redirects"):
            download(entry_of(server))


def test_a_web_page_is_no_file():
    with serve(Behavior(b"\n<!DOCTYPE html><title>Sign in</title>" + b" " * 1000, type="text/html")) as server:
        with pytest.raises(DownloadError, match="a web page instead of a file"):
            download(entry_of(server))
        assert leftovers(place_of(entry_of(server))) == []


def test_sizes_that_are_published_are_compared_before_the_bytes_arrive():
    with serve(Behavior(CONTENT)) as server:
        with pytest.raises(DownloadError, match="the file there has 1048576 bytes, expected 5"):
            download(entry_of(server, size=5))
        with pytest.raises(DownloadError, match="published are 170 MB"):
            download(entry_of(server, size_mb=170.0))
        assert download(entry_of(server, size_mb=170.0, size_estimated=True)).exists()


def test_a_full_disk_leaves_nothing(monkeypatch):
    real = open

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() > 300_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.name))
            return super().write(data)

    def opened(path, mode="r", *args, **kwargs):
        return Full(path, "ab") if mode == "ab" else real(path, mode, *args, **kwargs)

    monkeypatch.setattr(module, "open", opened, raising=False)
    with serve(Behavior(CONTENT)) as server:
        entry = entry_of(server)
        with pytest.raises(DownloadError, match=r"No space left.*MRCNN_CACHE_DIR"):
            download(entry)
        assert leftovers(place_of(entry)) == []


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "file"))
    with serve(Behavior(CONTENT)) as server, pytest.raises(DownloadError, match="cannot be written"):
        download(entry_of(server))


def test_progress_is_two_lines_where_there_is_no_terminal(capsys):
    with serve(Behavior(CONTENT)) as server:
        download(entry_of(server), log=lambda line: None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"downloading lab/net (1.0 MB) from {server.url}", "downloaded lab/net"]


def test_files_of_one_name_have_places_of_their_own():
    places = {place_of(entry_of_url(f"https://example.com/{i}/model_final.pkl")) for i in range(3)}
    assert len(places) == 3 and {path.name for path in places} == {"model_final.pkl"}


def test_a_path_stays_and_names_and_addresses_become_files(tmp_path, monkeypatch):
    assert local_file(tmp_path / "none.pth") == tmp_path / "none.pth"
    with serve(Behavior(CONTENT)) as server:
        rows = [{"name": "lab/net", "family": "lab", "url": server.url, "license": "CC0", "size": len(CONTENT)}]
        (tmp_path / "zoo.json").write_text(json.dumps(rows))
        monkeypatch.setenv("MRCNN_ZOO", str(tmp_path / "zoo.json"))
        assert Path(local_file("lab/net")).read_bytes() == CONTENT
        assert Path(local_file(server.url)).read_bytes() == CONTENT
        assert local_file(Path(server.url)) == local_file(server.url), "a Path drops a slash"
    with pytest.raises(ZooError, match="nearest: lab/net"):
        local_file("lab/nets")


def test_threads_download_once():
    with serve(Behavior(CONTENT, delay=0.0002)) as server:
        paths = []
        threads = [threading.Thread(target=lambda: paths.append(download(entry_of(server)))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(paths)) == 1 and len(paths) == 8 and server.requests == [""]


_CHILD = """
import sys
from mrcnn.weights.download import download
from mrcnn.weights.zoo import ZooEntry
assert "tensorflow" not in sys.modules
print(download(ZooEntry("lab/net", "mrcnn", sys.argv[1], "CC0"), log=lambda line: None))
"""


def child(url):
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_eight_processes_make_one_download():
    with serve(Behavior(CONTENT, delay=0.002)) as server:
        children = [child(server.url) for _ in range(8)]
        outputs = [process.communicate(timeout=60) for process in children]
        assert [process.returncode for process in children] == [0] * 8, outputs
        assert len({out for out, _ in outputs}) == 1 and server.requests == [""]


def test_killed_at_any_moment_no_wrong_file_gets_the_name():
    behavior = Behavior(CONTENT, delay=0.002)
    with serve(behavior) as server:
        entry = entry_of(server)
        for i in range(20):
            process = child(server.url)
            begin = time.monotonic()
            while not server.requests and time.monotonic() - begin < 30:
                time.sleep(0.01)
            time.sleep(0.02 * i)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            path = place_of(entry)
            assert not path.exists() or path.read_bytes() == CONTENT
            assert not path.exists() or json.loads((path.parent / "model.bin.json").read_text())["size"] == len(CONTENT)
        behavior.delay = 0.0
        sent, part = server.sent, path.parent / ".model.bin.part"
        missing = 0 if path.exists() else len(CONTENT) - (part.stat().st_size if part.exists() else 0)
        assert download(entry).read_bytes() == CONTENT
        assert server.sent - sent <= missing + module.BLOCK
