"""The names of matterport/Mask_RCNN, for scripts written for it: `from mrcnn.config import Config` and so on.

A facade: names, layouts and habits of that package over the rooms of this one. Training, detection, matching, pasting
and drawing are those of the package; nothing below this folder knows that it exists.
"""
