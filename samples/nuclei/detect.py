"""Find nuclei in images and draw them: python samples/nuclei/detect.py [IMAGE...]"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
model = mrcnn.load_model(HERE / "run")
images = [Path(name) for name in sys.argv[1:]] or sorted((HERE / "images").glob("*.png"))

for image, instances in zip(images, mrcnn.iter_detect(model, images, score_threshold=0.5), strict=True):
    drawing = mrcnn.draw(image, instances, as_array=True, labels=False)
    print(image.name, instances, mrcnn.save_image(f"nuclei_{image.stem[:8]}.png", drawing))
