"""The non-local block, in a backbone and in the keypoint head. Ref: Non-local Neural Networks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.non_local import NonLocalBlock, NonLocalConfig
from tests.reference import attention as reference


def block_of(rng, channels=6, **changes):
    block = NonLocalBlock(NonLocalConfig(**changes), name="non_local")
    block.build((None, None, None, channels))
    if rng is not None:
        for weight in block.weights:
            weight.assign(
                rng.uniform(0.5, 1.0, weight.shape) if "moving" in weight.path else rng.normal(size=weight.shape)
            )
    return block


def pair_of(conv):
    """A convolution and what follows it as one kernel and bias; the statistics are those of evaluation."""
    if conv.norm is None:
        return conv.kernel.numpy(), conv.bias.numpy()
    norm = {v.path.rsplit("/", 1)[-1]: v.numpy() for v in conv.norm.weights}
    scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + 1e-5)
    return conv.kernel.numpy() * scale, norm["beta"] - norm["moving_mean"] * scale


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"subsample": False},
        {"scaled": True, "subsample": False},
        {"norm": "bn"},
        {"norm": "none", "reduction": 3},
    ],
)
@pytest.mark.parametrize("height, width", [(4, 6), (3, 5)])
def test_equals_the_slow_one(rng, changes, height, width):
    block = block_of(rng, **changes)
    x = rng.normal(size=(2, height, width, 6)).astype(np.float32)
    result = block(tf.constant(x)).numpy()
    pairs = [pair_of(conv) for conv in (block.theta, block.phi, block.g, block.out)]
    options = {"subsample": changes.get("subsample", True), "scaled": changes.get("scaled", False)}
    for b in range(2):
        np.testing.assert_allclose(result[b], reference.non_local(x[b], *pairs, **options), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["eval_bn", "bn", "gn", "none"])
def test_a_new_block_changes_nothing_and_trains(rng, norm):
    """Ref: section 4.1: the scale at the end starts at 0, so that the block fits into a trained network."""
    block = block_of(None, norm=norm)
    x = tf.constant(rng.normal(size=(1, 4, 4, 6)), tf.float32)
    np.testing.assert_array_equal(block(x), x)
    np.testing.assert_array_equal(block(x, training=True), x)
    kernels = [conv.kernel.numpy() for conv in (block.theta, block.phi, block.g)]
    assert not any(np.array_equal(kernels[0], kernel) for kernel in kernels[1:])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(x, training=True) * tf.constant(rng.normal(size=(1, 4, 4, 6)), tf.float32))
    own = block.out.kernel if norm == "none" else block.out.norm.gamma
    assert np.abs(tape.gradient(loss, own.value)).max() > 0


def test_weights_are_half_as_wide():
    """Ref: figure 2: 1024 channels, 512 in the bottleneck."""
    shapes = {w.path.split("non_local/")[-1]: tuple(w.shape) for w in block_of(None, 1024).weights}
    assert {k: v for k, v in shapes.items() if "norm" not in k} == {
        **{f"{name}/kernel": (1, 1, 1024, 512) for name in ("theta", "phi", "g")},
        **{f"{name}/bias": (512,) for name in ("theta", "phi", "g")},
        "out/kernel": (1, 1, 512, 1024),
    }


def test_bad_parameters_are_named():
    with pytest.raises(ConfigError, match=r"non_local\.reduction: expected at least 1, got 0"):
        NonLocalConfig(reduction=0)
    with pytest.raises(ConfigError, match=r"non_local\.reduction: 4 does not divide the 6 channels"):
        block_of(None, reduction=4)
    with pytest.raises(ConfigError, match=r"norm: expected one of .* got 'frozen_bn'"):  # would never leave 0
        NonLocalConfig.from_dict({"norm": "frozen_bn"})
