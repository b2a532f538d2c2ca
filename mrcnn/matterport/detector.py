"""What `MaskRCNN` of matterport's does with images: `detect`, `run_graph` and what stands beside them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

import mrcnn
from mrcnn.matterport import images as molding
from mrcnn.matterport import utils
from mrcnn.matterport.detection import CanvasDetector, as_result, unmold
from mrcnn.matterport.eager import eagerly
from mrcnn.matterport.keras_model import KerasModel
from mrcnn.structures.instances import Instances


def log(text: str, array: Any = None) -> None:
    """Print a text, and of an array its shape, range and type in columns."""
    if array is not None:
        text = text.ljust(25) + f"shape: {array.shape!s:20}  "
        text += f"min: {array.min():10.5f}  max: {array.max():10.5f}" if array.size else f"min: {'':10}  max: {'':10}"
        text += f"  {array.dtype}"
    print(text)


class Detector:
    """The part of `MaskRCNN` that looks at images with a model.

    Attributes:
        mode, config, keras_model: as of `MaskRCNN`.
    """

    mode: str
    config: Any
    keras_model: KerasModel
    _anchors: np.ndarray | None = None

    @property
    def anchors(self) -> np.ndarray:
        """f32[A, 4], in pixels, the anchors that `get_anchors` made last, else those of the Config's IMAGE_SHAPE."""
        if self._anchors is None:
            self.get_anchors(self.config.IMAGE_SHAPE)
        return np.asarray(self._anchors)

    @anchors.setter
    def anchors(self, value: np.ndarray) -> None:
        self._anchors = value

    def get_anchors(self, image_shape: Any) -> np.ndarray:
        """f32[A, 4], the anchors of an image size, normalized; in pixels they become `self.anchors`."""
        from mrcnn.matterport import model  # it imports this module; scripts put functions of their own there

        self.anchors = utils.generate_pyramid_anchors(
            self.config.RPN_ANCHOR_SCALES,
            self.config.RPN_ANCHOR_RATIOS,
            model.compute_backbone_shapes(self.config, image_shape),
            self.config.BACKBONE_STRIDES,
            self.config.RPN_ANCHOR_STRIDE,
        )
        return utils.norm_boxes(self.anchors, image_shape[:2])

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images resized and less the mean: (molded f32[B, h, w, 3], image_metas [B, ...], windows i[B, 4])."""
        return molding.mold_inputs(images, self.config)

    def detect(self, images: Any, verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Find objects in images.

        Args:
            images: a list, or an array [B, h, w, 3]; any number of any sizes.
            verbose: print what goes in.

        Returns:
            One dict an image: "rois" i32[n, 4], "class_ids" i32[n], "scores" f32[n], best first, and "masks"
            bool[h, w, n], in pixels of the image.
        """
        assert self.mode == "inference", "Create model in inference mode."
        images = list(images)
        if verbose:
            log(f"Processing {len(images)} images")
            for image in images:
                log("image", image)
            if images:
                molded, metas, _ = self.mold_inputs(images)
                log("molded_images", molded)
                log("image_metas", metas)
                log("anchors", self.get_anchors(molded[0].shape))
        return eagerly(lambda: [self._detect_one(np.asarray(image)) for image in images])

    def _detect_one(self, image: np.ndarray) -> dict[str, np.ndarray]:
        channels = int(self.config.IMAGE_CHANNEL_COUNT)
        if image.ndim == 2:
            image = np.repeat(image[..., np.newaxis], channels, axis=2)
        plain = image.dtype == np.uint8 and not self.config.IMAGE_MIN_SCALE
        if channels == 3 and (plain or self.config.PAPER):
            as_uint8 = image if image.dtype == np.uint8 else np.clip(np.round(image), 0, 255).astype(np.uint8)
            return as_result(mrcnn.detect(self.keras_model, as_uint8, score_threshold=None)[0])
        # Crops are for training: what is looked for is looked for in the whole image.
        place = molding.whole if self.config.IMAGE_RESIZE_MODE == "crop" else molding.resized
        shown, window, *_ = place(image, self.config)
        return as_result(self._on_canvas(shown.astype(np.float32), window, image.shape[:2]))

    def _on_canvas(self, image: np.ndarray, window: Sequence[int], original_shape: tuple[int, int]) -> Instances:
        if not hasattr(self, "_detector"):
            self._detector = CanvasDetector(self.keras_model, int(self.config.IMAGE_CHANNEL_COUNT))
        return self._detector.detect(image, window, original_shape)

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: Any, verbose: int = 0
    ) -> list[dict[str, np.ndarray]]:
        """`detect` for images that are resized and less their mean already; results in their pixels."""
        assert self.mode == "inference", "Create model in inference mode."
        if verbose:
            log(f"Processing {len(molded_images)} images")
            for image in molded_images:
                log("image", image)
        del image_metas

        def one(molded: np.ndarray) -> dict[str, np.ndarray]:
            unmolded = (np.asarray(molded, np.float32) + np.asarray(self.config.MEAN_PIXEL)).astype(np.float32)
            return as_result(self._on_canvas(unmolded, (0, 0, *molded.shape[:2]), molded.shape[:2]))

        return eagerly(lambda: [one(molded) for molded in molded_images])

    def run_graph(self, images: Any, outputs: Sequence[Any], image_metas: Any = None) -> OrderedDict[str, np.ndarray]:
        """The values of tensors of the graph; prints each.

        Args:
            images: images; with `image_metas` molded ones, [B, h, w, c].
            outputs: pairs of a name and a tensor, such as `keras_model.get_layer("ROI").output`.
            image_metas: rows of `compose_image_meta`; None: the images are molded here.

        Returns:
            the arrays by name.
        """
        tensors = OrderedDict(outputs)
        for name, tensor in tensors.items():
            assert tensor is not None, name
        molded = images
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        molded = np.asarray(molded)
        anchors = self.get_anchors(molded.shape[1:])
        anchors = np.broadcast_to(anchors, (len(molded), *anchors.shape))
        values = eagerly(self.keras_model.view.run, list(tensors.values()), [molded, image_metas, anchors])
        result = OrderedDict(zip(tensors, values, strict=True))
        for name, value in result.items():
            log(name, value)
        return result

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """A tensor by its name in TensorFlow 1's graph: those inside the layer "ROI"; None for others."""
        del tensor, checked
        return self.keras_model.view.ancestor(name)

    def find_trainable_layer(self, layer: Any) -> Any:
        """The layer itself: there are no wrappers around layers."""
        return layer

    def unmold_detections(
        self, detections: np.ndarray, mrcnn_mask: np.ndarray, original_image_shape: Any, image_shape: Any, window: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Normalized detections [n, (y1, x1, y2, x2, class, score)] in pixels of the original image.

        Args:
            detections: rows of class 0 are padding.
            mrcnn_mask: f[n, m, m, NUM_CLASSES].
            original_image_shape, image_shape: of the image before and after it was resized.
            window: (y1, x1, y2, x2) of the image in the resized one, pixels.

        Returns:
            (boxes i32[k, 4], class_ids i32[k], scores f32[k], masks bool[h, w, k]).
        """
        result = as_result(unmold(detections, mrcnn_mask, original_image_shape, image_shape, window))
        return result["rois"], result["class_ids"], result["scores"], result["masks"]
