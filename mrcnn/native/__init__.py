"""RoIAlign, upright and rotated, and deformable convolution as a native library: how it is compiled, found, loaded."""
