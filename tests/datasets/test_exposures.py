"""Images at drawn settings against images of the design, and frames of periodic images."""

import numpy as np
import torch

from nanoshape_lib.datasets.images import Series, as_designed, as_ranged, camera, expose, framed
from nanoshape_lib.simulation.imaging import form_images, standardise
from nanoshape_lib.simulation.optics import Ranges


def test_framing_crops_and_continues_periodically():
    image = torch.arange(36.0).view(1, 6, 6)
    assert (framed(image, 4) == image[:, 1:5, 1:5]).all()
    assert (framed(image, 8)[0, 1:7, 1:7] == image[0]).all() and framed(image, 8)[0, 0, 1] == image[0, 5, 0]


def test_an_exposure_is_the_designs_image_in_the_middle_of_the_field_of_the_camera(tiny_store):
    design = tiny_store.design
    noiseless = design.camera.model_copy(update={"dose_e_A2": None})
    design = design.model_copy(update={"camera": noiseless})
    wave, settings = tiny_store.waves("test", 0, 1)[0], as_designed(design)(2, np.random.default_rng(0))
    assert len({setting.defocus_A for setting in settings} & set(design.defoci_A)) == 2
    defoci = torch.tensor([setting.defocus_A for setting in settings])
    for pixels in (128, 160):
        images, _ = expose(wave, Series(settings, torch.Generator(), pixels=pixels), design)
        seen = torch.as_tensor(wave).expand(2, -1, -1)
        expected = form_images(seen, defoci, design.microscope, camera(noiseless, pixels))
        edge = (pixels - 128) // 2
        expected = standardise(expected[:, edge : edge + 128, edge : edge + 128])
        np.testing.assert_allclose(images.float(), expected, atol=0.02)


def test_ranges_draw_each_image_at_its_own_setting():
    first, second = as_ranged(Ranges())(2, np.random.default_rng(0))
    assert first.defocus_A != second.defocus_A and -300 <= first.defocus_A <= 300
