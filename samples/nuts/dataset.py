"""A data set of one's own: say which images there are, and give the masks of one image when asked."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import mrcnn


class Nuts(mrcnn.Dataset):
    """Dates, figs and hazelnuts, outlined by polygons in a JSON file beside the images."""

    def __init__(self, annotation_file):
        super().__init__()
        annotation_file = Path(annotation_file)
        content = json.loads(annotation_file.read_text())

        for category in content["categories"]:
            self.add_class("nuts", category["id"], category["name"])

        outlines = defaultdict(list)  # image id -> [(class id, polygons), ...]
        for nut in content["annotations"]:
            outlines[nut["image_id"]].append((nut["category_id"], nut["segmentation"]))

        for image in content["images"]:
            self.add_image(
                "nuts",
                image_id=image["id"],
                path=annotation_file.parent / image["file_name"],
                width=image["width"],
                height=image["height"],
                outlines=outlines[image["id"]],  # any further keyword is kept and comes back in image_info
            )

    def load_mask(self, index):
        """Masks bool[height, width, n] and class ids int32[n] of image number `index`."""
        image = self.image_info[index]
        masks = np.zeros((image["height"], image["width"], len(image["outlines"])), bool)
        for i, (_, polygons) in enumerate(image["outlines"]):
            canvas = Image.new("1", (image["width"], image["height"]))
            for polygon in polygons:  # [x, y, x, y, ...]
                ImageDraw.Draw(canvas).polygon(polygon, fill=1)
            masks[:, :, i] = canvas
        return masks, np.array([class_id for class_id, _ in image["outlines"]], np.int32)
