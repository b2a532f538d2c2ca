from mrcnn.matterport.utils import *  # noqa: F403
