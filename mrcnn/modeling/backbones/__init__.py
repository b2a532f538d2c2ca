"""Backbones: image in, feature maps c2..c5 out."""
