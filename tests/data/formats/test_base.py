from __future__ import annotations

from pathlib import Path

from mrcnn.data.formats.base import holds_keys


def test_keys_are_found_across_the_pieces_a_file_is_read_in(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mrcnn.data.formats.base._BLOCK", 16)
    path = tmp_path / "a.json"
    for padding in range(40):
        path.write_text('{"' + "x" * padding + '": 1, "images": [], "annotations": []}')
        assert holds_keys(path, "images", "annotations")
        assert not holds_keys(path, "images", "categories")
    path.write_text('\ufeff \n[{"images": 1}]')
    assert holds_keys(path, "images")
    for text in ("", "x", '"images"'):
        path.write_text(text)
        assert not holds_keys(path, "images")
    assert not holds_keys(tmp_path, "images")


def test_keys_of_large_files(tmp_path: Path, monkeypatch) -> None:
    """One of them has to be near the beginning; all are looked for to the end."""
    monkeypatch.setattr("mrcnn.data.formats.base._LARGE", 100)
    monkeypatch.setattr("mrcnn.data.formats.base._BLOCK", 50)
    (tmp_path / "a.json").write_text('{"images": 0,' + " " * 200 + '"annotations": 0}')
    assert holds_keys(tmp_path / "a.json", "annotations", "images")
    assert not holds_keys(tmp_path / "a.json", "annotations")
    (tmp_path / "a.json").write_text('{"annotations": 0,' + " " * 300 + "}")
    assert holds_keys(tmp_path / "a.json", "annotations")
    assert not holds_keys(tmp_path / "a.json", "annotations", "images")
