"""Particles found and cut out of micrographs whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.cropping import crop
from nanoshape_lib.micrographs.detection import COLUMNS, find


def test_every_particle_is_found_where_it_lies_and_nothing_else(micrograph):
    image, pixel_A, truth = micrograph.images[0], micrograph.pixel_size_A, micrograph.truth
    found = find(image, pixel_A)
    away = pixel_A * np.hypot(
        truth["row"].to_numpy()[:, None] - found["row"].to_numpy(),
        truth["column"].to_numpy()[:, None] - found["column"].to_numpy(),
    )
    assert len(found) == len(truth)
    assert sorted(away.argmin(axis=1)) == list(range(len(truth)))
    assert away.min(axis=1).max() < 8
    ratio = found["diameter_A"].to_numpy()[away.argmin(axis=1)] / truth["diameter_A"]
    assert ratio.between(0.75, 1.3).all()
    assert not found["cut_off"].any()


def test_boxes_follow_a_turned_image_and_do_not_depend_on_its_unit(micrograph):
    image, pixel_A = micrograph.images[0], micrograph.pixel_size_A
    one, other = find(image, pixel_A), find(np.ascontiguousarray(image.T) * 4000 + 17, pixel_A)
    np.testing.assert_allclose(
        other[["row", "column"]].sort_values("row"), one[["column", "row"]].sort_values("column"), atol=2
    )


def test_noise_holds_no_particle(rng):
    assert find(1 + 0.1 * rng.standard_normal((400, 400)), 1.0).empty


def test_a_particle_cut_by_the_edge_is_marked_and_not_cut_out(micrograph):
    image, pixel_A, truth = micrograph.images[0], micrograph.pixel_size_A, micrograph.truth
    row = truth["row"].sort_values().iloc[3]
    part = image[int(row) :]
    found = find(part, pixel_A)
    assert found["cut_off"].any()
    box = next(found[found["cut_off"]].itertuples())
    with pytest.raises(NanoshapeError, match="cannot be used: it is cut off by the edge"):
        crop(part, box, pixel_A)


@pytest.mark.parametrize("pixel_A", [0.4, 0.8, 1.0])
def test_a_wave_is_resampled_without_loss_of_amplitude_or_phase(pixel_A):
    # A plane wave integrated over the file's pixels must come out integrated over pixels of 1 Å about the same centre.
    n, (qx, qy) = round(240 / pixel_A), (0.11, 0.07)
    x = (np.arange(n) - n / 2) * pixel_A
    wave = np.sinc(qx * pixel_A) * np.sinc(qy * pixel_A) * np.cos(2 * np.pi * (qx * x[:, None] + qy * x))
    box = pd.DataFrame([(n / 2, n / 2, 60.0, 1.0, 1.0, 1.0, False)], columns=COLUMNS)
    got = crop(wave, next(box.itertuples()), pixel_A)
    places = np.arange(128) - 63.5
    expected = np.cos(2 * np.pi * (qx * places[:, None] + qy * places))
    middle = slice(8, -8)
    np.testing.assert_allclose(got[middle, middle], (expected / expected.std())[middle, middle], atol=0.05)


@pytest.mark.parametrize("across", [1, 2, 4])
def test_noise_is_that_of_pixels_of_one_angstrom(across, rng):
    # Where so many pixels make 1 Å, a camera of 1 Å pixels would have recorded the means of as many squared.
    image, first = rng.standard_normal((240 * across,) * 2), 50 * across
    middle = first + 64 * across - 0.5
    box = pd.DataFrame([(middle, middle, 60.0, 1.0, 1.0, 1.0, False)], columns=COLUMNS)
    got = crop(image, next(box.itertuples()), 1 / across)
    part = slice(first, first + 128 * across)
    expected = image[part, part].reshape(128, across, 128, across).mean(axis=(1, 3))
    np.testing.assert_allclose(got, (expected - expected.mean()) / expected.std(), atol=0.01)


def test_other_particles_are_replaced_by_film(micrograph):
    image, pixel_A = micrograph.images[0], micrograph.pixel_size_A
    found = find(image, pixel_A)
    spots = found[["row", "column"]].to_numpy() * pixel_A
    apart = np.hypot(*(spots[:, None] - spots).T) + 1e9 * np.eye(len(spots))
    place, other = np.unravel_index(apart.argmin(), apart.shape)
    box = list(found.itertuples())[place]
    alone, together = crop(image, box, pixel_A, found), crop(image, box, pixel_A)
    offset = np.round(spots[other] - spots[place]).astype(int) + 64
    beyond = np.clip(offset, 4, 123)
    around = tuple(slice(max(at - 6, 0), at + 7) for at in beyond)
    # The neighbour is dark; the film in its place is as bright as the rest of it.
    assert together[around].mean() < alone[around].mean() - 0.2
    inner = np.hypot(*(np.mgrid[:128, :128] - 63.5)) < box.diameter_A / 2 - 8
    assert np.corrcoef(alone[inner], together[inner])[0, 1] > 0.99


@pytest.mark.parametrize(
    ("image", "pixel_A", "words"),
    [
        (np.ones((200, 200, 3)), 1.0, r"image has shape \(200, 200, 3\), but must be \(h, w\)"),
        (np.full((200, 200), np.nan), 1.0, "of finite numbers"),
        (np.ones((10, 10)), 1.0, "at least 20 Å wide"),
        (np.ones((200, 200)), 2.0, "pixel_size_A is 2 Å, but must lie between 0.05 and 1.25 Å"),
    ],
)
def test_what_is_no_image_is_refused(image, pixel_A, words):
    with pytest.raises(NanoshapeError, match=words):
        find(image, pixel_A)
