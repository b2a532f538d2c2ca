"""The Keras model that scripts reach as `model.keras_model`."""

from __future__ import annotations

import os
from typing import Any

from mrcnn.matterport import weights_file
from mrcnn.modeling import mask_rcnn

LOSSES = {
    "rpn_objectness": "rpn_class_loss",
    "rpn_box": "rpn_bbox_loss",
    "roi_class": "mrcnn_class_loss",
    "roi_box": "mrcnn_bbox_loss",
    "roi_mask": "mrcnn_mask_loss",
}
"""Our name of a loss -> the one that scripts read from logs and histories."""


class KerasModel(mask_rcnn.MaskRCNN):
    """The model of this package with matterport's names of losses and its layout of weights files.

    Attributes:
        source: the `Config` it was made of; set once it exists.
    """

    source: Any = None

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras, by matterport's names."""
        logs = {LOSSES.get(name, name): value for name, value in super().get_metrics_result().items()}
        return {"loss": logs.pop("loss"), **logs} if "loss" in logs else logs

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """Write matterport's layout, whatever the name; Keras' own for a name that ends in .weights.h5."""
        if str(filepath).endswith(".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite, **kwargs)
        elif overwrite or not os.path.exists(filepath):
            weights_file.save(self, self.source, filepath)

    def load_weights(self, filepath: str | os.PathLike[str], by_name: bool = False, **kwargs: Any) -> None:
        """Read what `save_weights` wrote, or any file `mrcnn.matterport.weights_file` can."""
        if str(filepath).endswith(".weights.h5"):
            super().load_weights(filepath, **kwargs)
        else:
            weights_file.load(self, self.source, filepath, by_name, ())

    def _make_predict_function(self) -> None:
        """Nothing to prepare; scripts call it before they start threads."""
