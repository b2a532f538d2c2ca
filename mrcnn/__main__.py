"""`python -m mrcnn`: the `mrcnn` command where the folder of scripts is not on the path."""

from mrcnn.cli import main

main()
