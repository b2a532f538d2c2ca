"""TensorBoard: losses, learning rate, AP, anchors and proposals against the ground truth, detections on fixed images.

Written with TensorFlow alone; TensorBoard itself is needed only to look at it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import DataConfig, Failures, make_pipeline
from mrcnn.drawing import draw_array
from mrcnn.inference import detect
from mrcnn.modeling.input import proposal_window

logger = logging.getLogger("mrcnn")

_SIDE = 640  # of a drawing, pixels


class Events(keras.callbacks.Callback):
    """Writes event files into a run's folder.

    Args:
        path: folder for the event files.
        first_step: steps made before, where a run is resumed.
        dataset: images to show detections on, beside the ground truth; None: none.
        config: of their ground truth, for the anchors; None: these are not compared.
        every_epochs: how often the images are written.
        num_images: how many of them.
        every_steps: how often the losses of a step are written.
    """

    def __init__(
        self,
        path: Path,
        first_step: int = 0,
        dataset: Dataset | None = None,
        config: DataConfig | None = None,
        every_epochs: int = 1,
        num_images: int = 4,
        every_steps: int = 20,
    ) -> None:
        super().__init__()
        self.path, self.step, self.dataset, self.config = path, first_step, dataset, config
        self.num_images, self.every_steps, self.every_epochs = num_images, every_steps, every_epochs
        self._writer: Any = None
        self._said = False

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """What a full disk refuses is logged, once, and not raised."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if not self._said:
                self._said = True
                reason = str(error).splitlines()[0]
                logger.error("%s: events could not be written (%s); training goes on", self.path, reason)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file."""
        with self._reported():
            self._writer = tf.summary.create_file_writer(str(self.path))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Losses, as running means of the epoch."""
        self.step += 1
        if self.step % self.every_steps == 0:
            for name, value in (logs or {}).items():
                self._scalar(f"step/{name}", value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Every number of the log; the images."""
        for name, value in (logs or {}).items():
            self._scalar(name if "/" in name else f"epoch/{name}", value)
        if self.dataset is not None and len(self.dataset) and (epoch + 1) % self.every_epochs == 0:
            self._matches(self.dataset)
            self._images(self.dataset)
        if self._writer is not None:
            with self._reported():
                self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        if self._writer is not None:
            with self._reported():
                self._writer.close()

    def _scalar(self, name: str, value: Any) -> None:
        self._write(name, np.float32(value), "scalars")

    def _write(self, name: str, value: Any, plugin: str) -> None:
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        if self._writer is None:
            return
        with self._reported(), self._writer.as_default():
            tf.summary.write(name, value, step=self.step, metadata=metadata)

    def _chosen(self, dataset: Dataset) -> list[int]:
        """Images spread over the set."""
        return sorted(set(np.linspace(0, len(dataset) - 1, self.num_images).round().astype(int).tolist()))

    def _images(self, dataset: Dataset) -> None:
        for index in self._chosen(dataset):
            image, ground_truth = dataset.load_image(index), dataset.instances(index)
            detections = detect(self.model, [image], score_threshold=0.5)[0]
            drawing = draw_array(
                image, detections, class_names=self.model.class_names, ground_truth=ground_truth, long_side=_SIDE
            )
            png = cv2.imencode(".png", drawing[..., ::-1])[1].tobytes()
            size = [str(drawing.shape[1]), str(drawing.shape[0])]
            self._write(f"gt_and_detections/{dataset.image_ids[index]}", tf.constant([*size, png]), "images")

    def _matches(self, dataset: Dataset) -> None:
        """How well anchors, and the proposals made of them, cover the objects of the first images."""
        if self.config is None or not hasattr(self.model, "rpn"):
            return
        geometry = self.model.config.rpn.geometry
        anchors: list[float] = []
        proposals: list[float] = []
        failures = Failures()
        data = make_pipeline(dataset, self.model, self.config, training=False, workers=1, failures=failures)
        for batch in failures.iterate(data.take(self.num_images)):
            valid = batch["gt_valid"][0] & ~batch["gt_crowd"][0]
            boxes = tf.boolean_mask(batch[geometry.ground_truth][0], valid)
            output = self.model.rpn(self.model.extract_features(batch, training=False), training=False)
            window = proposal_window(tf.shape(batch["image"])[1:3], batch["content_shape"], self.model.config.input)
            proposed = self.model.rpn.propose(output, window, for_training=False)
            kept = tf.boolean_mask(proposed.boxes[0], proposed.valid[0])
            for name, candidates in ((anchors, output.anchors), (proposals, kept)):
                name += tf.reduce_max(geometry.iou(boxes, candidates), 1).numpy().tolist()
        if anchors:
            self._scalar("matches/best_anchor_iou", np.mean(anchors))
            self._scalar("matches/objects_with_an_anchor", np.mean(np.greater_equal(anchors, 0.5)))
            self._scalar("matches/objects_proposed", np.mean(np.greater_equal(proposals, 0.5)))
