"""Necks: between the maps of a backbone and those that RPN and heads see. Found by `mrcnn.components`."""
