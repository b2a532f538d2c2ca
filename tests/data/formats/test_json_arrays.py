from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mrcnn.data.formats import json_arrays
from mrcnn.data.formats.json_arrays import JsonArrays

SCALARS = [1, 2.5, 'a"]}{[,', "x\\", None, True, "é\u2028", -3, "\\", '"', "images"]


def draw(choose: random.Random, depth: int = 0) -> Any:
    """Any JSON, with brackets and quotes in its strings."""
    if depth > 3 or choose.random() < 0.4:
        return choose.choice(SCALARS)
    if choose.random() < 0.5:
        return [draw(choose, depth + 1) for _ in range(choose.randrange(4))]
    return {choose.choice(["images", "a", 'b"', "c\\"]): draw(choose, depth + 1) for _ in range(choose.randrange(4))}


def whole(path: Path) -> Any:
    arrays = JsonArrays(path, ["images", "annotations"])
    content = json.loads(arrays.rest)
    for key in arrays.places:
        assert content[key] == []
        content[key] = [entry for piece in arrays.pieces(key) for entry in json.loads(piece)]
    return content


@pytest.mark.parametrize("block", [1, 2, 7, 50, 1000])
def test_pieces_make_the_whole_and_damage_is_never_passed_over(tmp_path: Path, monkeypatch, block: int) -> None:
    choose, path = random.Random(block), tmp_path / "a.json"
    monkeypatch.setattr(json_arrays, "_BLOCK", block)
    for _ in range(60):
        lists = {key: [draw(choose, 1) for _ in range(choose.randrange(6))] for key in ("images", "annotations")}
        items = list({**lists, "info": draw(choose), "x": draw(choose)}.items())
        choose.shuffle(items)
        text = json.dumps(dict(items), indent=choose.choice([None, 1]), ensure_ascii=choose.random() < 0.5)
        path.write_bytes(choose.choice([b"", b"\xef\xbb\xbf"]) + text.encode())
        assert whole(path) == dict(items)
        place = choose.randrange(len(text))
        bad = text[:place] + choose.choice(["", "]", "}", "{", '"', ",", "\\"]) + text[place + choose.randrange(2) :]
        path.write_text(bad)
        try:
            content = whole(path)
        except ValueError:
            continue
        assert content == json.loads(bad)


def test_no_more_than_a_piece_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(json_arrays, "_BLOCK", 100)
    entries = [{"id": k} for k in range(200)]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": entries}))
    pieces = list(JsonArrays(tmp_path / "a.json", ["annotations"]).pieces("annotations"))
    assert len(pieces) > 20 and max(map(len, pieces)) < 120
    assert [entry for piece in pieces for entry in json.loads(piece)] == entries


@pytest.mark.parametrize("text", ['{"annotations": [1', '{"a": "', "]", '{"images": [], "images": []}'])
def test_what_is_read_as_a_whole(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"cut off|closes nothing|given twice"):
        JsonArrays(tmp_path / "a.json", ["images", "annotations"])
