"""Labels made with a model's help: which images to label next, and the model behind a labeling tool.

`selection` and `uncertainty` choose images; `server` answers Label Studio, by `label_config`, `task_images` and
`predictions`; `cvat` is a function for CVAT.
"""
