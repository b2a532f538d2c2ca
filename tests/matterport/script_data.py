"""One small set of discs, boxes and triangles on disk in every layout that the scripts in `scripts/` read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

NAMES = ("disc", "box", "tri")


def draw(seed, height=64, width=64):
    """(u8[h, w, 3], labels u8[h, w] with 0 for the ground, outlines [(class id, [n, 2] of x and y)])."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 90, 3), np.uint8)
    labels, outlines = np.zeros((height, width), np.uint8), []
    for i, x in enumerate((width // 4, 3 * width // 4)):
        class_id, r = int(rng.integers(1, 4)), int(rng.integers(8, 13))
        y = int(rng.integers(16, height - 16))
        if class_id == 1:
            outline = cv2.ellipse2Poly((x, y), (r, r), 0, 0, 330, 30)
        elif class_id == 2:
            outline = np.array([(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)])
        else:
            outline = np.array([(x, y - r), (x + r, y + r), (x - r, y + r)])
        canvas = np.zeros((height, width), np.uint8)
        cv2.fillPoly(canvas, [outline.astype(np.int32)], 1)
        image[canvas > 0], labels[canvas > 0] = rng.integers(120, 256, 3), i + 1
        outlines.append((class_id, outline))
    return image, labels, outlines


def write_all(root: Path) -> None:
    """Write `via/`, `voc/`, `coco/`, `rle/`, `png/`, `npz/`, `stack/` and `film.avi` below a folder."""
    _via(root / "via")
    _voc(root / "voc")
    _coco(root / "coco")
    _rle(root / "rle")
    _png(root / "png" / "stage1_train")
    _npz(root / "npz", root / "stack")
    film = cv2.VideoWriter(str(root / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (96, 64))
    for seed in range(3):
        film.write(draw(seed, 64, 96)[0][..., ::-1].copy())
    film.release()


def _save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def _via(root):
    """Version 1 has regions as a dict, version 2 as a list."""
    for subset, seeds in (("train", range(3)), ("val", range(3, 5))):
        content = {}
        for seed in seeds:
            image, _, outlines = draw(seed)
            name = f"{seed}.png"
            _save(root / subset / name, image)
            regions = [
                {
                    "shape_attributes": {
                        "name": "polygon",
                        "all_points_x": outline[:, 0].tolist(),
                        "all_points_y": outline[:, 1].tolist(),
                    },
                    "region_attributes": {"name": NAMES[class_id - 1]},
                }
                for class_id, outline in outlines
            ]
            regions = dict(zip(map(str, range(len(regions))), regions, strict=True)) if seed == 0 else regions
            content[f"{name}{seed}"] = {"filename": name, "size": 1, "regions": regions, "file_attributes": {}}
        content["none.png0"] = {"filename": "none.png", "size": 1, "regions": {}, "file_attributes": {}}
        (root / subset / "via_region_data.json").write_text(json.dumps(content))
    for path in (root / "train", root / "val"):
        _save(path / "none.png", np.zeros((64, 64, 3), np.uint8))
    # The same images outlined with the annotator's other tools.
    content = {}
    for number, seed in enumerate((7, 8)):
        image, _, _ = draw(seed)
        _save(root / "tools" / "train" / f"{seed}.png", image)
        tool = {"name": "circle", "cx": 20.5, "cy": 30, "r": 9}
        if number:
            tool = {"name": "rect", "x": 10, "y": 12, "width": 20, "height": 16}
        region = {"shape_attributes": tool, "region_attributes": {"name": NAMES[number]}}
        content[f"{seed}.png"] = {"filename": f"{seed}.png", "regions": [region]}
    for subset in ("train", "val"):
        folder = root / "tools" / subset
        for seed in (7, 8):
            _save(folder / f"{seed}.png", draw(seed)[0])
        (folder / "via_region_data.json").write_text(json.dumps(content))


def _voc(root):
    for seed in range(6):
        image, labels, _ = draw(seed, 64, 96)
        _save(root / "images" / f"{seed:05}.jpg", image)
        objects = ""
        for i in range(1, labels.max() + 1):
            y, x = np.nonzero(labels == i)
            sides = f"<xmin>{x.min()}</xmin><ymin>{y.min()}</ymin><xmax>{x.max() + 1}</xmax><ymax>{y.max() + 1}</ymax>"
            objects += f"<object><name>kangaroo</name><bndbox>{sides}</bndbox></object>"
        path = root / "annots" / f"{seed:05}.xml"
        path.parent.mkdir(exist_ok=True)
        size = "<size><width>96</width><height>64</height><depth>3</depth></size>"
        path.write_text(f"<annotation>{size}{objects}</annotation>")


def _coco(root):
    images, annotations = [], []
    for seed in range(4):
        image, labels, outlines = draw(seed)
        _save(root / "images" / f"{seed}.png", image)
        images.append({"id": 100 + seed, "file_name": f"{seed}.png", "width": 64, "height": 64})
        for i, (class_id, outline) in enumerate(outlines, start=1):
            y, x = np.nonzero(labels == i)
            box = [int(v) for v in (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)]
            segmentation = [outline.reshape(-1).tolist()]
            if seed == 1:  # run lengths as a list, as of crowds
                runs = np.diff(np.flatnonzero(np.diff(np.r_[2, (labels == i).T.ravel(), 2])))
                segmentation = {"size": [64, 64], "counts": runs.tolist()}
                assert rle.decode(rle.frPyObjects(segmentation, 64, 64)).sum() == (labels == i).sum()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + seed,
                    "category_id": class_id * 10,
                    "segmentation": segmentation,
                    "bbox": box,
                    "area": int((labels == i).sum()),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 10 * i, "name": name, "supercategory": "shape"} for i, name in enumerate(NAMES, start=1)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))


def _rle(root):
    rows = [("ImageId", "EncodedPixels")]
    for seed in range(3):
        image, labels, _ = draw(seed)
        _save(root / "images" / f"{seed}.png", image)
        for i in range(1, labels.max() + 1):
            flat = np.r_[0, (labels == i).T.ravel(), 0]
            starts, ends = np.flatnonzero(np.diff(flat.astype(int)) == 1), np.flatnonzero(np.diff(flat.astype(int)) < 0)
            runs = " ".join(f"{a + 1} {b - a}" for a, b in zip(starts, ends, strict=True))
            rows.append((f"{seed}.png", runs))
    _save(root / "images" / "sea.png", np.full((64, 64, 3), 40, np.uint8))
    rows.append(("sea.png", ""))
    with open(root / "train_ship_segmentations.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def _png(root):
    for seed in range(3):
        image, labels, _ = draw(seed, 96, 128)
        _save(root / f"cell{seed}" / "images" / f"cell{seed}.png", image)
        for i in range(1, labels.max() + 1):
            _save(root / f"cell{seed}" / "masks" / f"{i}.png", (labels == i).astype(np.uint8) * 255)


def _npz(root, stack):
    root.mkdir(parents=True)
    stack.mkdir(parents=True)
    everything = {"images": [], "labels": [], "class_ids": [], "depths": []}
    for seed in range(4):
        image, labels, outlines = draw(seed)
        class_ids = np.array([class_id for class_id, _ in outlines], np.int32)
        np.savez(root / f"{seed}.npz", image=image, labels=labels, class_ids=np.minimum(class_ids, 2))
        depth = np.where(labels > 0, 60, 200).astype(np.uint8)
        for name, value in zip(everything, (image, labels, class_ids, depth), strict=True):
            everything[name].append(value)
    np.savez(stack / "all.npz", **{name: np.stack(values) for name, values in everything.items()})
