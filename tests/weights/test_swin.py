"""Names and layouts of Swin Transformers: a merging of cells of each code base, done by hand, equals ours."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.backbones.swin import MergeCells
from mrcnn.weights import detectron2, mmdetection, swin
from mrcnn.weights.report import WeightsError
from tests.reference.state_dicts import Shape, golden_shapes

AUTHORS = (  # mmdetection's name, the authors'
    ("backbone.stages.", "backbone.layers."),
    ("patch_embed.projection.", "patch_embed.proj."),
    (".attn.w_msa.", ".attn."),
    (".ffn.layers.0.0.", ".mlp.fc1."),
    (".ffn.layers.1.", ".mlp.fc2."),
)


def authors_name(name: str) -> str:
    for theirs, ours in AUTHORS:
        name = name.replace(theirs, ours)
    return name


def merged_by(name: str, x: np.ndarray) -> np.ndarray:
    """The channels of 2 x 2 cells side by side, as a code base puts them."""
    cells = {(i, j): x[i::2, j::2] for i in (0, 1) for j in (0, 1)}
    if name == "authors":
        return np.concatenate([cells[0, 0], cells[1, 0], cells[0, 1], cells[1, 1]], -1)
    channels = [cells[i, j][..., c : c + 1] for c in range(x.shape[-1]) for i in (0, 1) for j in (0, 1)]
    return np.concatenate(channels, -1)  # as torch.nn.Unfold


@pytest.mark.parametrize(("name", "step"), [("authors", swin.from_authors), ("unfold", swin.from_mmdetection)])
def test_merged_cells_in_our_order_give_the_same(rng, name, step):
    x, weights = rng.normal(size=(4, 6, 3)), rng.normal(size=(5, 12))
    theirs = merged_by(name, x) @ weights.T
    ours = np.asarray(MergeCells()(x[None].astype(np.float32)))[0] @ step(weights).T
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_authors_names_are_the_same_network():
    theirs = golden_shapes("mm_mask_swin_t_fpn")
    arrays = {authors_name(name): shape for name, shape in theirs.items()}
    assert mmdetection.matches(arrays) and not detectron2.matches(arrays)
    network = mmdetection.describe(arrays)
    assert network.overrides == mmdetection.describe(theirs).overrides
    ours = mmdetection.to_ours(arrays, network)
    assert ours.unused == ()
    assert set(ours) == set(mmdetection.to_ours(theirs, network))


def test_whose_order_it_is_follows_from_the_names():
    name = "backbone/stage3_down_reduce/kernel"
    other = {"backbone/stage2_block1_attention/qkv/kernel": "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"}
    of_mmdetection = {name: "backbone.stages.0.downsample.reduction.weight", **other}
    assert swin.first_steps(of_mmdetection) == {name: swin.from_mmdetection}
    of_authors = {key: authors_name(value) for key, value in of_mmdetection.items()}
    assert swin.first_steps(of_authors) == {name: swin.from_authors}
    of_convnext = {name: "backbone.downsample_layers.1.0.weight"}  # a layer of that name, without merged cells
    assert swin.first_steps(of_convnext) == {}


def test_names_that_are_none():
    for name in ("layers.0.blocks.0.attn_mask", "head.weight", "stages.4.blocks.0.norm1.weight", "norm.weight"):
        assert swin.our_name(name) is None


def resized(arrays: dict, **changes: tuple[int, ...]) -> dict:
    return {
        name: next((Shape(*shape) for end, shape in changes.items() if name.endswith(end)), array)
        for name, array in arrays.items()
    }


def test_other_sizes_are_read_off_the_shapes():
    """A window of 12 x 12, eighteen blocks in the third stage, twice the channels between."""
    arrays = golden_shapes("mm_mask_swin_t_fpn")
    for block in range(6, 18):
        for name in list(arrays):
            if ".stages.2.blocks.5." in name:
                arrays[name.replace(".5.", f".{block}.", 1)] = arrays[name]
    arrays = {
        name: Shape(23 * 23, array.shape[1]) if name.endswith("_bias_table") else array
        for name, array in arrays.items()
    }
    network = mmdetection.describe(arrays)
    assert str(network) == "mmdetection Swin S window 12-FPN, 80 classes, box + mask"
    assert mmdetection.to_ours(arrays, network).unused == ()


@pytest.mark.parametrize(
    ("end", "shape", "message"),
    [
        ("stages.2.blocks.0.attn.w_msa.relative_position_bias_table", (25, 12), "relative positions"),
        ("norm3.weight", (700,), "out_norm"),
        ("stages.0.blocks.0.ffn.layers.0.0.weight", (100, 96), "multiple"),
    ],
)
def test_shapes_that_contradict_each_other_are_refused(end, shape, message):
    arrays = resized(golden_shapes("mm_mask_swin_t_fpn"), **{end: shape})
    with pytest.raises(WeightsError, match=message):
        mmdetection.describe(arrays)


def test_an_incomplete_network_is_refused():
    arrays = golden_shapes("mm_mask_swin_t_fpn")
    del arrays["backbone.norm2.weight"]
    with pytest.raises(WeightsError, match="out_norm"):
        mmdetection.describe(arrays)
