"""Leave color on the objects only: python samples/balloon/splash.py RUN IMAGE_OR_FILM [RESULT]"""

import sys
from pathlib import Path

import cv2
import numpy as np

import mrcnn

FILMS = (".avi", ".mkv", ".mov", ".mp4", ".webm")


def splash(image, instances):
    """u8[h, w, 3]: gray where there is no object."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    return np.where(instances.masks.any(axis=0)[..., np.newaxis], image, gray)


if __name__ == "__main__":
    model, source = mrcnn.load_model(sys.argv[1]), Path(sys.argv[2])
    suffix = ".avi" if source.suffix.lower() in FILMS else ".png"
    result = Path(sys.argv[3]) if len(sys.argv) > 3 else source.with_name(f"{source.stem}_splash{suffix}")
    if suffix == ".png":
        image = mrcnn.read_image(source)
        mrcnn.save_image(result, splash(image, mrcnn.detect(model, image, score_threshold=0.5)[0]))
    else:
        film = mrcnn.VideoReader(source)
        with mrcnn.VideoWriter(result, film.fps) as writer:
            for image in film:
                writer.write(splash(image, mrcnn.detect(model, image, score_threshold=0.5)[0]))
    print(f"wrote {result}")
