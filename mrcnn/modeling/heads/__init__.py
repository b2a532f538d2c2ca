"""The RoI heads: what the model says about each box."""
