"""Augmentations that a recipe names under `data.augmentations`; one component per module, see `base`."""
