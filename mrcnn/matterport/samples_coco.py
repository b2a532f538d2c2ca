"""`samples.coco`, the folder of matterport's sample: `from samples.coco import coco`."""

from mrcnn.matterport import coco as coco

__path__: list[str] = []  # so that `import samples.coco.coco` goes on to look for it
