from mrcnn.matterport.model import *  # noqa: F403
from mrcnn.matterport.model import __getattr__ as __getattr__
