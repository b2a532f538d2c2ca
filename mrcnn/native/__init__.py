"""RoIAlign and deformable convolution as a native library: how it is compiled, found and loaded."""
