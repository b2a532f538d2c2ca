"""What scripts for matterport/Mask_RCNN do that cannot work any more, and one line on what to write instead."""

from __future__ import annotations

import re

_SESSIONS = "TensorFlow 2 runs operations at once, without graphs and sessions of the script's own: delete the line"
_MEMORY = "for GPU memory write: for gpu in tf.config.list_physical_devices('GPU'): " + (
    "tf.config.experimental.set_memory_growth(gpu, True)"
)
_EXPORT = "write mrcnn.export_saved_model(model.keras_model, folder) instead"
_FORK = "that is of a fork, not of matterport/Mask_RCNN: copy the function from it into the script"

_TF1 = {
    "Session": f"{_SESSIONS}; {_MEMORY}",
    "InteractiveSession": f"{_SESSIONS}; {_MEMORY}",
    "ConfigProto": f"{_SESSIONS}; {_MEMORY}",
    "GPUOptions": f"{_SESSIONS}; {_MEMORY}",
    "get_default_graph": f"{_SESSIONS}, and call model.detect without `with graph.as_default()`",
    "reset_default_graph": _SESSIONS,
    "set_random_seed": "write tf.random.set_seed(seed)",
    "global_variables_initializer": _SESSIONS,
    "placeholder": _SESSIONS,
    "import_graph_def": f"graphs of one file are of TensorFlow 1; {_EXPORT}",
    "GraphDef": f"graphs of one file are of TensorFlow 1; {_EXPORT}",
    "graph_util": f"graphs of one file are of TensorFlow 1; {_EXPORT}",
    "gfile": "write tf.io.gfile",
    "logging": "write: import logging; logging.getLogger('tensorflow').setLevel(logging.ERROR)",
    "app": "write absl.app, or call main() directly",
    "flags": "write absl.flags, or argparse",
    "contrib": "it was dropped from TensorFlow 2 and has no counterpart there",
}
_RULES: tuple[tuple[str, str], ...] = (
    (r"module 'tensorflow' has no attribute '(?P<name>\w+)'", "tf.{name} is of TensorFlow 1"),
    (r"No module named 'tensorflow\.(?P<name>contrib)", "tf.{name} is of TensorFlow 1"),
    (
        r"module '(?:tensorflow\.)?keras[\w.]*backend[\w.]*' has no attribute '(?P<name>\w+)'",
        "keras.backend.{name} is of Keras 2",
    ),
    (
        r"(?:cannot import name|No module named) '(?P<name>keras\.\w+[\w.]*|tensorflow\.keras[\w.]*)'",
        "{name} is of Keras 2",
    ),
    (
        r"module 'mrcnn\.(?:matterport\.)?(?P<module>\w+)' has no attribute '(?P<name>\w+)'",
        "mrcnn.{module} has no {name}",
    ),
    (
        r"cannot import name '(?P<name>\w+)' from 'mrcnn\.(?:matterport\.)?(?P<module>\w+)'",
        "mrcnn.{module} has no {name}",
    ),
    (
        r"(?:cannot import name 'multi_gpu_model'|has no attribute 'multi_gpu_model')",
        "keras.utils.multi_gpu_model is gone from Keras: delete the call, GPU_COUNT x IMAGES_PER_GPU images make a "
        "batch on one device; for several devices mrcnn.train takes a strategy",
    ),
    (
        r"filepath provided must end in `\.weights\.h5`",
        "Keras 3 wants names that end in .weights.h5 from ModelCheckpoint(save_weights_only=True): delete the "
        "callback, model.train writes model.checkpoint_path after every epoch; or name the file x.weights.h5",
    ),
    (r"No module named 'mrcnn\.(?P<name>\w+)'", "there is no mrcnn.{name}"),
    (
        r"(?P<name>\w+(?:\.\w+)*)\(\) got an unexpected keyword argument '(?P<argument>\w+)'",
        "{name} takes no {argument} in matterport/Mask_RCNN",
    ),
)
_OURS = (
    "display_instances",
    "MaskRCNN.detect",
    "MaskRCNN.train",
    "MaskRCNN.__init__",
    "load_image_gt",
    "data_generator",
)
EAGER_OFF = (
    "eager execution is off (tf.compat.v1.disable_eager_execution, disable_v2_behavior), and Keras 3 does not work "
    "without it: delete that line"
)
"""The message where a model is made although TensorFlow was set to behave like TensorFlow 1."""


def explain(error: BaseException) -> str | None:
    """One line on an error that no drop-in can mend: what, why, what to write instead; None for any other error."""
    text = str(error)
    if text == EAGER_OFF:
        return text
    for pattern, what in _RULES:
        match = re.search(pattern, text)
        if match is None:
            continue
        groups = match.groupdict()
        if groups.get("argument") and groups["name"].rpartition("mrcnn.")[2] not in _OURS:
            return None
        what = what.format(**groups)
        if not groups:
            return what
        if "TensorFlow 1" in what:
            if groups["name"] not in _TF1:
                return f"{what} or no name of TensorFlow at all"
            return f"{what}: {_TF1[groups['name']]}"
        if "Keras 2" in what:
            return f"{what}: Keras 3 has no sessions and no learning phase, delete the line; {_MEMORY}"
        return f"{what}: {_FORK}"
    return None
