"""Losses of the RoI heads, chosen by a head's config. Found by `mrcnn.components`."""
