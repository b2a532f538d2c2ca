"""Leave color on the objects only: python samples/balloon/splash.py RUN IMAGE_OR_FILM [RESULT]"""

import sys
from pathlib import Path

import cv2
import numpy as np

import mrcnn

FILMS = (".avi", ".mkv", ".mov", ".mp4", ".webm")


def splash(image, found):
    """u8[h, w, 3]: gray where there is no object."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    return np.where(found.masks.any(axis=0)[..., np.newaxis], image, gray)


def frames(film):
    """Its images, u8[h, w, 3] in RGB, one at a time."""
    while True:
        there, frame = film.read()
        if not there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    model, source = mrcnn.load_model(sys.argv[1]), Path(sys.argv[2])
    suffix = ".avi" if source.suffix.lower() in FILMS else ".png"
    result = Path(sys.argv[3]) if len(sys.argv) > 3 else source.with_name(f"{source.stem}_splash{suffix}")
    if suffix == ".png":
        image = mrcnn.read_image(source)
        mrcnn.save_image(result, splash(image, mrcnn.detect(model, image, score_threshold=0.5)[0]))
    else:
        film = cv2.VideoCapture(str(source))
        size = int(film.get(cv2.CAP_PROP_FRAME_WIDTH)), int(film.get(cv2.CAP_PROP_FRAME_HEIGHT))
        writer = cv2.VideoWriter(str(result), cv2.VideoWriter_fourcc(*"MJPG"), film.get(cv2.CAP_PROP_FPS) or 25, size)
        for image in frames(film):
            found = mrcnn.detect(model, image, score_threshold=0.5)[0]
            writer.write(cv2.cvtColor(splash(image, found), cv2.COLOR_RGB2BGR))
        writer.release()
    print(f"wrote {result}")
