"""Padding to a fixed side, and cutting feature maps back to their image, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling.backbones.fixed_side import CutToImage, PadToSide


def test_layers_that_pad_and_cut_by_hand():
    image = np.ones((2, 3, 5, 1), np.float32)
    padded = np.asarray(PadToSide(6)(image))
    assert padded.shape == (2, 6, 6, 1) and padded.sum() == 30 and padded[:, :3, :5].all()
    assert CutToImage(2)([padded, image]).shape == (2, 2, 3, 1)
    for layer in (PadToSide(6), CutToImage(2)):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_an_image_that_is_too_large_is_refused():
    with pytest.raises(InputError, match=r"at most 6 pixels a side \(model\.backbone\.side\), got \[3, 7\]"):
        PadToSide(6)(np.ones((1, 3, 7, 1), np.float32))


def test_maps_are_cut_to_the_cells_that_the_image_touches():
    cells = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    cut = np.asarray(CutToImage(8)([cells, np.zeros((1, 9, 16, 3), np.float32)]))
    np.testing.assert_array_equal(cut[0, :, :, 0], [[0, 1], [4, 5]])
    assert CutToImage(8).compute_output_shape([(1, 4, 4, 1), (1, None, 17, 3)]) == (1, None, 3, 1)
