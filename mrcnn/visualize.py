from mrcnn.matterport.visualize import *  # noqa: F403
from mrcnn.matterport.visualize import __getattr__ as __getattr__
