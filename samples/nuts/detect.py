"""Find nuts in pictures and draw them: python samples/nuts/detect.py RUN [PICTURE...]"""

import sys
from pathlib import Path

import mrcnn

HERE = Path(__file__).parent
model = mrcnn.load_model(sys.argv[1])
pictures = [Path(name) for name in sys.argv[2:]] or sorted((HERE / "pictures").glob("*.jpg"))

for picture, found in zip(pictures, mrcnn.iter_detect(model, pictures, score_threshold=0.5), strict=True):
    drawing = mrcnn.draw(picture, found, class_names=model.class_names, as_array=True)
    print(picture, found, mrcnn.save_picture(f"nuts_{picture.stem}.png", drawing))
