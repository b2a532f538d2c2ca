"""From a `Dataset` to batches: order, decode, augment, resize, pad; as `structures.batch_spec` states them.

`config` says how images are augmented and sampled, `sampler` which of them make a batch, `reader` decodes and caches
them, `augment` makes a random view of one, `mapper` the view of an image in an epoch, `batches` writes views into a
batch, and `assembly` runs all that in a `tf.data.Dataset`; `failures` keeps what its threads raise. How an image is
resized and padded is the model's `InputConfig`, see `mrcnn.preprocessing`.

Every sample is reproducible: its random choices come from a generator seeded by (seed, epoch, index), whatever the
number of workers. A whole batch is made by one call in a worker thread; decoding, resizing and sampling masks release
Python's lock.

Batches have few shapes. Training with `crop`: one. With other augmentations: one for landscape and one for portrait
images, just large enough for the largest image of each in the set. Where nothing is random images lie on canvases as in
inference, and a batch is just large enough for the largest of its own.
"""

from mrcnn.data.pipeline.assembly import make_pipeline
from mrcnn.data.pipeline.config import DataConfig
from mrcnn.data.pipeline.failures import Failures
from mrcnn.data.pipeline.progress import images_in_work
from mrcnn.data.pipeline.sampler import Share, steps_per_epoch

__all__ = ["DataConfig", "Failures", "Share", "images_in_work", "make_pipeline", "steps_per_epoch"]
