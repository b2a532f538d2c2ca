from __future__ import annotations

import io
import itertools
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats import tfrecord
from mrcnn.data.formats.checksum import masked_crc
from mrcnn.data.formats.proto import parse_example
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.tfrecord import TFRecord
from mrcnn.data.pipeline import Share, make_pipeline
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.records import Annotation
from tests.data.formats.sample_sets import kinds, masks


def varint(value: int) -> bytes:
    value, out = value & (2**64 - 1), b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(features: dict[str, list]) -> bytes:
    entries = b""
    for key, values in features.items():
        if values and isinstance(values[0], bytes):
            feature = field(1, b"".join(field(1, v) for v in values))
        elif values and isinstance(values[0], float):
            feature = field(2, field(1, np.array(values, "<f4").tobytes()))
        else:
            feature = field(3, field(1, b"".join(varint(v) for v in values)))
        entries += field(1, field(1, key.encode()) + field(2, feature))
    return field(1, entries)


def record(data: bytes) -> bytes:
    header = struct.pack("<Q", len(data))
    return header + struct.pack("<I", masked_crc(header)) + data + struct.pack("<I", 0)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def features(number: int = 1, **more: Any) -> dict[str, list]:
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 4:12] = 1
    return {
        "image/encoded": [png(np.full((30, 40, 3), number, np.uint8))],
        "image/filename": [f"{number}.png".encode()],
        "image/source_id": [str(number).encode()],
        "image/object/bbox/xmin": [0.1, 0.5],
        "image/object/bbox/xmax": [0.3, 0.75],
        "image/object/bbox/ymin": [0.1, 0.5],
        "image/object/bbox/ymax": [0.3, 1.0],
        "image/object/class/text": [b"cat", b"dog"],
        "image/object/class/label": [1, 2],
        "image/object/is_crowd": [0, 1],
        "image/object/mask": [png(mask), png(np.ones((30, 40), np.uint8))],
        **more,
    }


def test_shards(tmp_path: Path) -> None:
    for k in range(2):
        shard = tmp_path / f"train.tfrecord-{k:05d}-of-00002"
        shard.write_bytes(record(example(features(2 * k))) + record(example(features(2 * k + 1))))
    (tmp_path / "val.record").write_bytes(record(example(features(9))))
    assert isinstance(recognize(tmp_path), TFRecord) and mrcnn.dataset_splits(tmp_path) == ("train", "val")
    data = mrcnn.load_dataset(tmp_path, split="train")
    assert data.image_ids == (0, 1, 2, 3) and data.class_names == ("cat", "dog") and not data.issues
    assert data.load_image(3).shape == (30, 40, 3) and data.load_image(3)[0, 0, 0] == 3
    assert masks(data, 0)[0].sum() == 48 and data.annotations(0)[1].is_crowd
    np.testing.assert_allclose(data.annotations(0)[0].box, [3, 4, 9, 12], rtol=1e-6)
    everything = mrcnn.load_dataset(tmp_path)
    assert len(everything) == 5 and everything.load_image(4)[0, 0, 0] == 9
    assert mrcnn.load_dataset(tmp_path / "val.record").image_ids == (9,)


def test_names_from_a_label_map_and_joints(tmp_path: Path) -> None:
    more = {"image/object/class/text": [], "image/object/mask": [], "image/object/keypoint/x": [0.25, 0.5, 0.0, 0.0]}
    more["image/object/keypoint/y"] = [0.5, 0.5, 0.0, 0.0]
    more["image/object/keypoint/visibility"] = [2, 1, 0, 0]
    (tmp_path / "a.tfrecord").write_bytes(record(example(features(**more))))
    (tmp_path / "map.pbtxt").write_text("item {\n id: 2\n name: 'dog'\n}\nitem { id: 1 name: \"cat\" }")
    data = mrcnn.load_dataset(tmp_path)
    assert data.class_names == ("cat", "dog") and data.keypoint_names == ("0", "1")
    assert data.annotations(0)[0].keypoints.tolist() == [[10, 15, 2], [20, 15, 1]]


def test_damage_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good, shard = record(example(features(1))), tmp_path / "a.tfrecord"
    small = {"image/object/mask": [png(np.ones((3, 4), np.uint8))] * 2}
    for tail, kind, message in (
        (good[:-30], "damaged label", "record 2: the file is cut off"),
        (b"\0" + good[1:], "damaged label", "record 2: its length is damaged"),
        (record(b"\xff" * 30), "damaged label", "record 2: not a tf.train.Example"),
        (record(example({"image/height": [3]})), "damaged label", "no image/encoded"),
        (record(example(features(2, **small))), "damaged label", "mask of 3 x 4, its image is 30 x 40"),
        (record(example(features(2, **{"image/object/bbox/xmin": [0.1]}))), "damaged label", "boxes with [1, 2, 2, 2]"),
    ):
        shard.write_bytes(good + tail)
        data = mrcnn.load_dataset(shard)
        assert 1 in data.image_ids and kind in kinds(data) and message in data.issues[0].message
    shard.write_bytes(good[:-40])
    with pytest.raises(DataError, match=r"no image can be used.*the file is cut off"):
        mrcnn.load_dataset(shard)
    shard.write_bytes(b"")
    with pytest.raises(DataError, match="no known format"):
        mrcnn.load_dataset(shard)


def test_checksums_and_values() -> None:
    assert masked_crc(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    parsed = parse_example(example({"a": [-1, 2], "b": [0.5], "c": [b"x", b""], "d": []}), "file")
    assert parsed.integers("a") == [-1, 2] and parsed.floats("b").tolist() == [0.5] and parsed.texts("c") == [b"x", b""]
    assert not parsed.texts("absent") and not len(parsed.floats("c")) and not parsed.integers("b")


def sharded(folder: Path, number: int = 12, shards: int = 4) -> mrcnn.Dataset:
    """Images of one gray each, so that a batch says which they are; every image is as large."""
    data = mrcnn.Dataset()
    data.add_class("mine", 1, "square")
    (folder / "in").mkdir()
    for k in range(number):
        path = folder / "in" / f"{k:02d}.png"
        Image.new("RGB", (40, 30), (20 * k, 0, 0)).save(path)
        data.add_image("mine", k, str(path), height=30, width=40, annotations=[Annotation(1, (5, 5, 15, 20))])
    data.save(folder / "shards", "tfrecord", shards=shards)
    return mrcnn.load_dataset(folder / "shards")


def stream(data: mrcnn.Dataset, number: int = 9, **options: Any) -> list[dict[str, np.ndarray]]:
    chosen = {"batch_size": 4, "training": True, "seed": 5, "repeat": True, **options}
    return list(make_pipeline(data, InputConfig(64), cache_bytes=0, **chosen).take(number).as_numpy_iterator())


def same_batches(a: list[dict[str, np.ndarray]], b: list[dict[str, np.ndarray]]) -> None:
    assert len(a) == len(b)
    for ours, theirs in zip(a, b, strict=True):
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key])


def test_shards_are_shuffled_and_resumed_exactly(tmp_path: Path) -> None:
    """Within and across shards, differently in every epoch; however many threads read them."""
    data = sharded(tmp_path)
    one = stream(data, workers=1)
    same_batches(one, stream(data, workers=4))
    same_batches(one[5:], stream(data, 4, start_batch=5, workers=3))
    epochs = np.concatenate([batch["image_id"] for batch in one]).reshape(3, 12)
    assert all(sorted(order) == list(range(12)) for order in epochs.tolist())
    assert len({tuple(order) for order in epochs.tolist()}) == 3
    shard_of = {image_id: place.file.name for image_id, place in data.places.items()}
    for order in epochs.tolist():
        files = [shard_of[k] for k in order]
        assert len(set(files)) == 4 and sum(a != b for a, b in itertools.pairwise(files)) > 4  # across
        for file in set(files):  # within: in no shard is every epoch in the order of its records
            own = [[k for k in epoch if shard_of[k] == file] for epoch in epochs.tolist()]
            assert any(ks != sorted(ks) for ks in own)


def test_each_worker_reads_its_own_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sharded(tmp_path)
    read = tfrecord.read_record
    whole, parts = stream(data), []
    for first in range(2):
        own: list[tfrecord.Place] = []
        monkeypatch.setattr(tfrecord, "read_record", lambda place, own=own: (own.append(place), read(place))[1])
        parts.append(stream(data, 9, share=Share(2, first, 1)))
        needed = [data.places[image_id] for batch in parts[-1] for image_id in batch["image_id"].tolist()]
        assert set(needed) <= set(own) and len(own) <= len(needed) + 12  # and what is prepared ahead
    for batch, a, b in zip(whole, *parts, strict=True):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, np.concatenate([a[key], b[key]]))


def test_shards_are_read_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread waits until a second one reads, from another shard."""
    data, read = sharded(tmp_path), tfrecord.read_record
    together, files, lock = threading.Barrier(2, timeout=20), [], threading.Lock()

    def wait(place: tfrecord.Place) -> bytes:
        with lock:
            files.append(place.file)
            first = len(files) <= 2
        if first:
            together.wait()
        return read(place)

    monkeypatch.setattr(tfrecord, "read_record", wait)
    stream(data, 2, batch_size=1, workers=2)
    assert not together.broken
