"""A page on which a model is tried: see its masks, move the threshold, correct what it gave, save labels.

`view` is one image with what the model gave and what a person changed, `session` one browser's way through images,
`detector` the model, `uploads` what is taken as an image, `figure` what is drawn, `saving` the labels: all of it
without gradio, whose components are in `page` and whose server is in `server`.
"""
