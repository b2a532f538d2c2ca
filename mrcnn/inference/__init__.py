"""Images in, instances out: the only way from an image to the model's frame and back.

`stream` runs the model over images, `tiles` over the parts of a large one, `augmentation` over resized and mirrored
copies of one; `sources` takes what people hand over apart, `prepare` and `results` are the way there and the way back.
"""

from mrcnn.inference.augmentation import detect_augmented
from mrcnn.inference.panoptic import detect_panoptic, detect_panoptic_dataset
from mrcnn.inference.prepare import MAX_PIXELS, SCORE_THRESHOLD, ImageLike, load_image, prepare_image
from mrcnn.inference.results import make_instances, to_instances
from mrcnn.inference.stream import detect, detect_dataset, iter_detect
from mrcnn.inference.threads import set_threads
from mrcnn.inference.tiles import detect_tiled

__all__ = [
    "MAX_PIXELS",
    "SCORE_THRESHOLD",
    "ImageLike",
    "detect",
    "detect_augmented",
    "detect_dataset",
    "detect_panoptic",
    "detect_panoptic_dataset",
    "detect_tiled",
    "iter_detect",
    "load_image",
    "make_instances",
    "prepare_image",
    "set_threads",
    "to_instances",
]
