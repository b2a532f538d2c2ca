"""The components of Mask R-CNN: layers and their config, one file per concept of the papers."""
