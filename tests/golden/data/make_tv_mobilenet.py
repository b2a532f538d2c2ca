"""Write tv_box_mobilenet_v3_*.npz: what torchvision 0.29 itself computes with random weights from a fixed seed.

Run from the root of the repository, in an environment of its own: pip install torch==2.14.1 torchvision==0.29.1;
python tests/golden/data/make_tv_mobilenet.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.models.detection import faster_rcnn
from torchvision.ops.misc import FrozenBatchNorm2d

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))
from tests.reference.drawn_weights import draw  # noqa: E402

IMAGE = "000000491525.jpg"
SEED, CLS_GAIN = 0, 0.5
# Activations keep their size through fifteen blocks, and objectness falls below the threshold for some.
GAINS = {"fc2": 3.0, "block": 1.1, "fpn": 1.4, "cls_logits": 5.0, "cls_score": 3.0}
SIZES = {"tv_box_mobilenet_v3_large_fpn": (320, 512), "tv_box_mobilenet_v3_large_320_fpn": (256, 512)}
NUM_VALUES = 600
LEVELS = {"0": "p5", "1": "p6", "pool": "p7"}


def model_of(name: str, **options: Any) -> faster_rcnn.FasterRCNN:
    """The network as torchvision builds it for its COCO weights: frozen batch norm, every parameter trainable here."""
    small = {"rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150} if "_320_" in name else {}
    shortest, longest = SIZES[name]
    mobilenet = faster_rcnn.mobilenet_v3_large(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = faster_rcnn._mobilenet_extractor(mobilenet, True, 6)
    anchors = faster_rcnn.AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    limits = {"min_size": shortest, "max_size": longest, "rpn_score_thresh": 0.05}
    model = faster_rcnn.FasterRCNN(backbone, 91, rpn_anchor_generator=anchors, **limits, **small, **options)
    state = {
        key: torch.from_numpy(draw(key, tuple(value.shape), SEED, CLS_GAIN, GAINS))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model


def put(values: dict[str, np.ndarray], key: str, tensor: torch.Tensor, number: int = NUM_VALUES) -> None:
    """Some values of a tensor at random places, and its shape."""
    flat = tensor.detach().numpy().ravel()
    index = np.sort(np.random.default_rng(len(flat)).choice(len(flat), min(number, len(flat)), replace=False))
    values |= {f"{key}/index": index, f"{key}/value": flat[index], f"{key}/shape": np.array(tensor.shape)}


def infer(name: str, image: torch.Tensor, values: dict[str, np.ndarray]) -> dict[str, Any]:
    """Everything up to the detections; returns numbers that say whether they are worth comparing."""
    model = model_of(name).eval()
    with torch.no_grad():
        images, _ = model.transform([image])
        features = model.backbone(images.tensors)
        put(values, "input", images.tensors)
        values["resized_hw"] = np.array(images.image_sizes[0])
        for key, level in LEVELS.items():
            put(values, f"fpn/{level}", features[key])
        logits, deltas = model.rpn.head(list(features.values()))
        for level, logit, delta in zip(LEVELS.values(), logits, deltas, strict=True):
            put(values, f"rpn_logits/{level}", logit)
            put(values, f"rpn_deltas/{level}", delta)
        put(values, "anchors", model.rpn.anchor_generator(images, list(features.values()))[0], 2000)
        (proposals,), _ = model.rpn(images, features)
        values["proposals"] = proposals[:200].numpy()
        rng = np.random.default_rng(7)
        height, width = images.image_sizes[0]
        corner = rng.uniform(0, 0.7, (24, 2)) * (width, height)
        boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (24, 2)) * (width, height)], 1)
        boxes = torch.tensor(boxes.astype(np.float32))
        values["probe_boxes_xyxy"] = boxes.numpy()
        pooled = model.roi_heads.box_roi_pool(features, [boxes], images.image_sizes)
        scores, box_deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
        put(values, "roi_align_7", pooled, 2000)
        values["box_logits"] = scores.numpy()
        put(values, "box_deltas", box_deltas, 2000)
        (result,) = model([image])
        values |= {
            "det_boxes_xyxy": result["boxes"].numpy(),
            "det_scores": result["scores"].numpy(),
            "det_labels": result["labels"].numpy(),
        }
        probs = torch.cat([x.flatten() for x in logits]).sigmoid()
        return {
            "levels": [float(features[key].std()) for key in LEVELS],
            "objectness": np.quantile(probs.numpy(), (0.05, 0.5, 0.95)).tolist(),
            "below the threshold": float((probs < 0.05).float().mean()),
            "proposals": len(proposals),
            "detections": len(result["boxes"]),
            "classes": len(set(result["labels"].tolist())),
            "scores": [float(result["scores"].max()), float(result["scores"].min())],
        }


def train(name: str, image: torch.Tensor, values: dict[str, np.ndarray]) -> None:
    """Losses, gradient norms and the losses of three steps of SGD, nothing drawn at random."""
    with np.load(HERE / "tv_box_r50_fpn.npz") as other:  # the same objects
        boxes, labels = other["gt_boxes_xyxy"], other["gt_labels"]
    every = 1_000_000
    model = model_of(
        name,
        rpn_pre_nms_top_n_train=300,
        rpn_post_nms_top_n_train=100,
        rpn_batch_size_per_image=every,
        rpn_positive_fraction=1.0,
        box_batch_size_per_image=every,
        box_positive_fraction=1.0,
    ).train()
    target = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels).long()}
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(parameters.values(), lr=1e-5, momentum=0.9, weight_decay=1e-4)
    rows = []
    for step in range(4):
        losses = model([image], [target])
        rows.append([float(value.detach()) for value in losses.values()])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        if step == 0:
            values |= {
                "gt_boxes_xyxy": boxes,
                "gt_labels": labels,
                "loss_names": np.array(list(losses)),
                "loss_values": np.array(rows[0], np.float32),
                "grad_names": np.array(list(parameters)),
                "grad_norms": np.array([float(p.grad.norm()) for p in parameters.values()], np.float32),
            }
        optimizer.step()
    values["sgd_lr1e-5_m0.9_wd1e-4_losses"] = np.array(rows, np.float32)


def main() -> None:
    """Write both files."""
    torch.set_num_threads(1)
    image = torch.from_numpy(np.array(Image.open(HERE / IMAGE).convert("RGB"))).permute(2, 0, 1).float() / 255
    for name, (shortest, longest) in SIZES.items():
        values: dict[str, np.ndarray] = {}
        spread = infer(name, image, values)
        train(name, image, values)
        print(name, json.dumps(spread), values["sgd_lr1e-5_m0.9_wd1e-4_losses"].tolist())
        meta = {
            "source": f"torchvision {torchvision.__version__}",
            "kind": "box",
            "seed": SEED,
            "cls_gain": CLS_GAIN,
            "gains": GAINS,
            "image": IMAGE,
            "min_size": shortest,
            "max_size": longest,
            "spread": spread,
            "state": {key: list(value.shape) for key, value in model_of(name).state_dict().items()},
        }
        np.savez_compressed(HERE / f"{name}.npz", meta=json.dumps(meta), **values)


if __name__ == "__main__":
    main()
