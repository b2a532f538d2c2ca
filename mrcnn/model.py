from mrcnn.matterport.model import *  # noqa: F403
