from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.data.formats.checksum import masked_crc
from mrcnn.data.formats.proto import parse_example
from mrcnn.data.formats.registry import recognize
from mrcnn.data.formats.tfrecord import TFRecord
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
