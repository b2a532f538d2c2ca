from __future__ import annotations

import numpy as np

from mrcnn.inference import detect
from mrcnn.inference.features import detect_with_features
from tests.tiny_model import noise_images, tiny_model


def test_detections_are_those_of_detect_and_features_do_not_depend_on_the_batch() -> None:
    model, images = tiny_model(), [*noise_images(2), noise_images(1)[0]]
    one = list(detect_with_features(model, images))
    many = list(detect_with_features(model, images, 3))
    for (a, features), (_, others), expected in zip(
        one, many, detect(model, images, score_threshold=None), strict=True
    ):
        assert len(a) and np.allclose(a.boxes, expected.boxes, atol=1e-3)
        assert np.allclose(a.scores, expected.scores, atol=1e-5)
        assert np.allclose(features, others, atol=1e-3) and np.isfinite(features).all()
    assert np.allclose(one[0][1], one[2][1]) and not np.allclose(one[0][1], one[1][1])
    assert one[0][1].shape == (2 * 32 * 5,)
