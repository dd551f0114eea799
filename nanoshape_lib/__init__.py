"""Three-dimensional nanoparticle shapes from high-resolution transmission electron microscopy images.

The modules follow the experiment: build a particle (`shapes`), turn it (`rotations`), put it on carbon
(`substrate`), form its images (`microscope`, `hrtem`), collect them (`dataset`), train networks
(`models`, `training`) and judge them (`evaluation`); `figures` draws what the book shows.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nanoshape_lib")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "unknown"
