"""The rooms of Mask R-CNN: layers and their settings, one file per concept of the papers."""
