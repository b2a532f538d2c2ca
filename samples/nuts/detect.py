"""Find nuts in images and draw them: python samples/nuts/detect.py RUN [IMAGE...]"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
model = mrcnn.load_model(sys.argv[1])
images = [Path(name) for name in sys.argv[2:]] or sorted((HERE / "images").glob("*.jpg"))

for image, instances in zip(images, mrcnn.iter_detect(model, images, score_threshold=0.5), strict=True):
    drawing = mrcnn.draw(image, instances, class_names=model.class_names, as_array=True)
    print(image, instances, mrcnn.save_image(f"nuts_{image.stem}.png", drawing))
