from mrcnn.matterport.visualize import *  # noqa: F403
