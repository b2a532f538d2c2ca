"""Changes of an image and its objects: pure functions from sample to sample, all fields updated together.

What a sample holds is said in `transforms.sample`. Masks are never resampled on the way: a resize or a crop moves their
windows, a flip or a turn makes another view of the same bytes. They are sampled once, at the end, by
`crop_masks_to_boxes`.

Every random choice is made by a function `draw_...` from a generator, apart from its application. An augmentation that
a recipe can name is a component of `data.augmentations` that calls these functions.
"""

from mrcnn.data.transforms.color import adjust_color as adjust_color
from mrcnn.data.transforms.color import draw_color as draw_color
from mrcnn.data.transforms.geometry import crop as crop
from mrcnn.data.transforms.geometry import flip_horizontal as flip_horizontal
from mrcnn.data.transforms.geometry import flip_vertical as flip_vertical
from mrcnn.data.transforms.geometry import follow as follow
from mrcnn.data.transforms.geometry import mirrored_joints as mirrored_joints
from mrcnn.data.transforms.geometry import resize as resize
from mrcnn.data.transforms.geometry import rotate90 as rotate90
from mrcnn.data.transforms.mask_grids import crop_masks_to_boxes as crop_masks_to_boxes
from mrcnn.data.transforms.mask_grids import full_frame_masks as full_frame_masks
from mrcnn.data.transforms.paste import draw_subset as draw_subset
from mrcnn.data.transforms.paste import paste as paste
from mrcnn.data.transforms.rotated import rotated_boxes as rotated_boxes
from mrcnn.data.transforms.sample import Sample as Sample
from mrcnn.data.transforms.sample import select as select
