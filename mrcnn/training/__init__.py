"""Training: the fit loop around Keras, schedules, freezing, callbacks, evaluation while training."""
