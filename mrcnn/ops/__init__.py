"""Tensors in, tensors out: box arithmetic, matching, sampling, pooling, masks and losses, without layers or state."""
