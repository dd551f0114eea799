"""Images of an exit wave at drawn settings of the microscope, with pixels that may be other than believed."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.imaging import standardise
from nanoshape_lib.simulation.optics import Camera
from nanoshape_lib.simulation.ranges import Ranges, Setting, centre, form_at

Draw = Callable[[int, np.random.Generator], list[Setting]]
"""Takes a number of images and random numbers, gives the setting of each image of one focal series."""


def as_designed(design: DatasetDesign) -> Draw:
    """Settings as a design has them, with defoci drawn from its own: without repetition while there are enough."""

    def draw(images: int, rng: np.random.Generator) -> list[Setting]:
        defoci = rng.choice(design.defoci_A, images, replace=images > len(design.defoci_A))
        return [centre(design, float(defocus_A)) for defocus_A in defoci]

    return draw


def as_ranged(ranges: Ranges) -> Draw:
    """Settings drawn from ranges, each image at its own."""
    return lambda images, rng: [ranges.draw(rng) for _ in range(images)]


def camera(camera: Camera, pixels: int) -> Camera:
    """The same camera with so many pixels across the field of 128 Å."""
    return Camera.model_validate(camera.model_dump() | {"pixels": pixels, "pixel_size_A": FIELD_A / pixels})


def framed(images: Tensor, pixels: int) -> Tensor:
    """The middle of periodic images (N, n, n) in so many pixels, continued periodically where n is smaller."""
    n = images.shape[-1]
    rows = (torch.arange(pixels) + (n - pixels) // 2) % n
    return images[:, rows][:, :, rows]


def expose(
    wave: np.ndarray,
    settings: list[Setting],
    design: DatasetDesign,
    rng: np.random.Generator,
    pixels: int,
    device: str = "cpu",
) -> Tensor:
    """Standardised images (N, n, n), float16, of one exit wave as a camera of n pixels of 1 Å would show it.

    Parameters
    ----------
    wave
        Exit wave (m, m) of the field.
    settings
        One for each image.
    design
        What the settings do not name, and the n pixels of an image.
    rng
        Source of the counting noise.
    pixels
        Into how many pixels the field is truly divided.
    device
        Where torch computes; the noise of another kind of device is other noise.
    """
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    waves = torch.as_tensor(wave, device=device).expand(len(settings), -1, -1)
    images = form_at(waves, settings, design.microscope, camera(design.camera, pixels), generator)
    return standardise(framed(images, design.camera.pixels)).half().cpu()
