"""Models whose layers and variables have no names of their own, as those of `keras.applications` may have none."""

from __future__ import annotations

import keras


class LayerScale(keras.layers.Layer):
    """Like that of `keras.applications.ConvNeXtTiny`: its variables have no names."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables."""
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones")
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Scaled and shifted."""
        return x * self.gamma + self.beta


def unnamed_backbone(name: str | None = None) -> keras.Model:
    """Two branches, a stack in a stack."""
    inputs = keras.Input((8, 8, 3))
    x = LayerScale()(keras.layers.Conv2D(4, 3)(inputs))
    left = keras.layers.Conv2D(4, 3, padding="same")(x)
    right = keras.layers.Conv2D(4, 1)(keras.layers.Conv2D(4, 3, padding="same")(x))
    x = keras.layers.Add()([left, right])
    x = keras.Sequential([keras.layers.Conv2D(4, 1), keras.layers.Dense(3)])(x)
    return keras.Model(inputs, x, name=name)


class UnnamedModel(keras.Model):
    """A model of two such components."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.other = unnamed_backbone("backbone"), unnamed_backbone("other")
        self.built = True
