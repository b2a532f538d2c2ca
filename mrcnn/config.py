from mrcnn.matterport.config import *  # noqa: F403
