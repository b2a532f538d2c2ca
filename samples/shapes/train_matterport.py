"""Train on shapes from random weights with a script as it was written for matterport/Mask_RCNN.

python samples/shapes/train_matterport.py [LOGS]
"""

import sys
import time
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from shapes import CLASS_NAMES, draw_image

import mrcnn.model as modellib
from mrcnn import utils
from mrcnn.config import Config

HERE = Path(__file__).parent
LOGS = sys.argv[1] if len(sys.argv) > 1 else "logs"


class ShapesConfig(Config):
    NAME = "shapes"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 8
    NUM_CLASSES = 1 + 3
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 50
    VALIDATION_STEPS = 2

    # The notebook starts from COCO weights and takes a ResNet-101. From nothing, and without a GPU, a light network
    # whose norms are trained too gets further in an hour: recipe.yaml beside this file.
    PAPER = str(HERE / "recipe.yaml")
    LEARNING_RATE = 0.04


class InferenceConfig(ShapesConfig):
    IMAGES_PER_GPU = 1


class ShapesDataset(utils.Dataset):
    def load_shapes(self, count, first_seed):
        for class_id, name in enumerate(CLASS_NAMES, start=1):
            self.add_class("shapes", class_id, name)
        for seed in range(first_seed, first_seed + count):
            self.add_image("shapes", image_id=seed, path=None)

    def load_image(self, image_id):
        return draw_image(self.image_info[image_id]["id"])[0]

    def load_mask(self, image_id):
        return draw_image(self.image_info[image_id]["id"])[1:]

    def image_reference(self, image_id):
        return self.image_info[image_id]["id"]


def dataset(count, first_seed):
    data = ShapesDataset()
    data.load_shapes(count, first_seed)
    data.prepare()
    return data


def train(model, train_data, val_data, stages):
    """Each stage is (epochs in all, layers, share of the learning rate); the losses of every epoch by name."""
    history = defaultdict(list)
    for epochs, layers, share in stages:
        rate = model.config.LEARNING_RATE * share
        model.train(train_data, val_data, learning_rate=rate, epochs=epochs, layers=layers)
        for name, values in model.keras_model.history.history.items():
            history[name].extend(values)
    return history


def mean_ap(model, data, config):
    aps = []
    for image_id in data.image_ids:
        image, _, class_ids, boxes, masks = modellib.load_image_gt(data, config, image_id, use_mini_mask=False)
        result = model.detect([image], verbose=0)[0]
        ap = utils.compute_ap(
            boxes, class_ids, masks, result["rois"], result["class_ids"], result["scores"], result["masks"]
        )[0]
        aps.append(ap)
    return np.mean(aps)


def draw_curves(history, path):
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, values in history.items():
        if not name.startswith("val_") or name == "val_loss":
            width = 2.5 if name in ("loss", "val_loss") else 1
            axes.plot(range(1, 1 + len(values)), values, label=name, linewidth=width)
    axes.set(xlabel="epoch", yscale="log")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    begin = time.time()
    config, inference_config = ShapesConfig(), InferenceConfig()
    train_data, val_data, fresh = dataset(4000, 0), dataset(50, 100_000), dataset(50, 200_000)

    model = modellib.MaskRCNN(mode="training", config=config, model_dir=LOGS)
    history = train(model, train_data, val_data, ((1, "heads", 1.0), (11, "all", 1.0), (13, "all", 0.1)))
    draw_curves(history, Path(model.log_dir) / "curves.png")
    print(f"trained for {(time.time() - begin) / 60:.1f} minutes, {time.process_time() / 60:.1f} of one core")

    model = modellib.MaskRCNN(mode="inference", config=inference_config, model_dir=LOGS)
    model.load_weights(model.find_last(), by_name=True)
    print(f"mAP@0.5 over {len(fresh.image_ids)} fresh images: {mean_ap(model, fresh, inference_config):.3f}")
