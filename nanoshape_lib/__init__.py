"""Three-dimensional nanoparticle shapes from high-resolution transmission electron microscopy images.

The rooms of the library follow the experiment: `particles` are built and turned, `simulation` forms their images,
`datasets` keeps them, `networks` learn and are judged, `trust` says when to believe them, `micrographs` reads images of
a microscope, `studies` repeats the paper, `figures` draws. What is needed most is here; a name is imported when it is
first asked for.
"""

from importlib.metadata import PackageNotFoundError, version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

try:
    __version__ = version("nanoshape_lib")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "unknown"
