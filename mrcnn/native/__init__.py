"""The RoIAlign op as a native library: how it is compiled, found and loaded."""
