from mrcnn.matterport.parallel_model import *  # noqa: F403
