"""Backbones: picture in, feature maps c2..c5 out."""
