"""Train on shapes from random weights with a script as it was written for matterport/Mask_RCNN.

python samples/shapes/train_matterport.py [LOGS] [--paper]

It trains as matterport did: losses, targets, weight decay. With --paper the same network is trained as the paper does.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import keras
import matplotlib.pyplot as plt
import numpy as np
from shapes import CLASS_NAMES, draw_image

import mrcnn
import mrcnn.model as modellib
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.matterport.keras_model import KerasModel
from mrcnn.matterport.native_config import model_config

HERE = Path(__file__).parent
NAMES = {False: "matterport's losses", True: "the paper's losses"}


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

    LEARNING_RATE = 0.04
    PRE_NMS_LIMIT = 1000
    POST_NMS_ROIS_TRAINING = POST_NMS_ROIS_INFERENCE = 500
    DETECTION_MIN_CONFIDENCE = 0.05


class PaperConfig(ShapesConfig):
    PAPER = str(HERE / "recipe.yaml")


class LightMaskRCNN(modellib.MaskRCNN):
    """With the network of recipe.yaml, and all else as the `Config` says.

    The notebook starts from COCO weights and takes a ResNet-101. From nothing, and without a GPU, a light network whose
    norms are trained too gets further in an hour.
    """

    def build(self, mode, config):
        light = mrcnn.recipes.get(HERE / "recipe.yaml").model
        head, mask = light.box_head, light.heads[0]
        parts = {
            "backbone": light.backbone,
            "neck": light.neck,
            "rpn.channels": light.rpn.channels,
            "box_head.fc_dims": head.fc_dims,
            "box_head.fc_norm": head.fc_norm,
            "heads.0.conv_dims": mask.conv_dims,
            "heads.0.conv_norm": mask.conv_norm,
            "heads.0.deconv_dim": mask.deconv_dim,
        }
        model = KerasModel(model_config(config) if config.PAPER else model_config(config).override(parts))
        model.source = config
        return model


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


def mean_ap(model, data, config, least=0.0):
    """Of detections whose score is not below `least`."""
    aps = []
    for image_id in data.image_ids:
        image, _, class_ids, boxes, masks = modellib.load_image_gt(data, config, image_id, use_mini_mask=False)
        result = model.detect([image], verbose=0)[0]
        kept = result["scores"] >= least
        predicted = [result[name][kept] for name in ("rois", "class_ids", "scores")]
        aps.append(utils.compute_ap(boxes, class_ids, masks, *predicted, result["masks"][..., kept])[0])
    return float(np.mean(aps))


def draw_curves(histories, path):
    """The losses of each history, by its title, side by side; at last mAP, where histories have it."""
    figure, panels = plt.subplots(1, len(histories) + 1, figsize=(5 * len(histories) + 5, 4), squeeze=False)
    for axes, (title, history) in zip(panels[0, :-1], histories.items(), strict=True):
        for name, values in history.items():
            if name == "val_loss" or not name.startswith(("val_", "mAP")):
                width = 2.5 if name in ("loss", "val_loss") else 1
                axes.plot(range(1, 1 + len(values)), values, label=name, linewidth=width)
        axes.set(title=title, xlabel="epoch of 50 steps", ylabel="loss", yscale="log", ylim=(2e-3, 4))
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
        axes.grid(alpha=0.3)
        values = history.get("mAP", [])
        panels[0, -1].plot(range(1, 1 + len(values)), values, label=title)
    panels[0, -1].set(title="mAP@0.5", xlabel="epoch of 50 steps", ylim=(0, 1))
    panels[0, -1].legend(fontsize=8)
    panels[0, -1].grid(alpha=0.3)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("logs", nargs="?", default="logs")
    parser.add_argument("--paper", action="store_true")
    arguments = parser.parse_args()
    begin = time.time()
    keras.utils.set_random_seed(0)
    config = PaperConfig() if arguments.paper else ShapesConfig()
    train_data, val_data, fresh = dataset(4000, 0), dataset(50, 100_000), dataset(50, 200_000)

    model = LightMaskRCNN(mode="training", config=config, model_dir=arguments.logs)
    history = train(model, train_data, val_data, ((1, "heads", 1.0), (11, "all", 1.0), (13, "all", 0.1)))
    minutes = (time.time() - begin) / 60
    print(f"trained for {minutes:.1f} minutes, {time.process_time() / 60:.1f} of one core", flush=True)

    trained = LightMaskRCNN(mode="inference", config=config, model_dir=arguments.logs)
    for epoch in range(1, model.epoch + 1):
        trained.load_weights(model.checkpoint_path.format(epoch=epoch), by_name=True)
        history["mAP"].append(mean_ap(trained, val_data, config))
        print(f"epoch {epoch}: mAP@0.5 {history['mAP'][-1]:.3f} over {len(val_data.image_ids)} images", flush=True)
    for least in (0.05, 0.7):
        score = mean_ap(trained, fresh, config, least)
        print(f"mAP@0.5 over {len(fresh.image_ids)} fresh images, scores from {least}: {score:.3f}", flush=True)
    (Path(model.log_dir) / "history.json").write_text(json.dumps(history, indent=1))
    draw_curves({NAMES[arguments.paper]: history}, Path(model.log_dir) / "curves.png")
