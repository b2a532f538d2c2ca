from mrcnn.matterport.utils import *  # noqa: F403
from mrcnn.matterport.utils import __getattr__ as __getattr__
