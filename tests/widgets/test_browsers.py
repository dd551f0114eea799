"""The dataset browser and the confusion explorer against the tables they come from."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from ipywidgets.embed import embed_data

from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.figures.structures import sector_places
from nanoshape_lib.networks.evaluation import BEAM, predictions_table
from nanoshape_lib.particles.orientation import random_rotations, reduce, symmetry_group
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.widgets.browsers import ConfusionExplorer, DatasetBrowser
from nanoshape_lib.widgets.explorer import ACTIVE


@pytest.fixture(scope="module")
def browser(tiny_store):
    return DatasetBrowser(tiny_store, "train")


@pytest.fixture(scope="module")
def confusion():
    """Ten waves of three images each; two images of the first wave and one of the second are misclassified."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(10) % 5, 3)
    logits = 4.0 * np.eye(5)[label] + np.eye(5)[(label + 1) % 5]
    logits[[0, 1], 3] = 9.0
    logits[4, 0] = 9.0
    beam = np.repeat(random_rotations(10, rng)[:, 2], 3, axis=0)
    table = pd.DataFrame({"group": np.repeat(np.arange(10), 3), "label": label, "size_A": 50.0})
    table["defocus_A"] = np.tile([-50.0, 0.0, 50.0], 10)
    predictions = predictions_table(table.assign(**dict(zip(BEAM, beam.T, strict=True))), logits)
    images = torch.randn(29, 32, 32, generator=torch.Generator().manual_seed(0))
    return ConfusionExplorer(predictions, images, np.arange(29))


def alts(html):
    return re.findall(r'alt="([^"]+)"', html)


def test_the_first_wave_is_shown_from_the_start(tiny_store):
    browser = DatasetBrowser(tiny_store, "train")
    assert "Wave 0 of" in browser.caption.value and len(alts(browser.series_view.value)) == 1


def test_every_wave_is_a_point_under_its_shape_and_size_once(browser):
    found = []
    for shape in Shape:
        browser.shape.value = shape
        for size in browser.size.options:
            browser.size.value = size
            found += browser.points
    assert sorted(found) == browser.table["group"].tolist()


def test_equivalent_beams_lie_at_one_place_within_the_drawing():
    for shape in Shape:
        beams = random_rotations(50, np.random.default_rng(3))[:, 2]
        places = sector_places(shape, reduce(beams, shape))
        assert (places > 0).all() and (places < 1).all()
        same = sector_places(shape, reduce(symmetry_group(shape) @ beams[0], shape))
        np.testing.assert_allclose(same, np.tile(places[0], (len(same), 1)), atol=1e-9)


def test_unfinished_split_is_refused(copied):
    next(path for path in (copied / "test" / "seal" / "c").rglob("*") if path.is_file()).unlink()
    with pytest.raises(NanoshapeError, match="not finished: some of its test waves"):
        DatasetBrowser(Store(copied), "test")


def test_click_on_a_point_shows_the_series_of_its_wave(browser):
    browser.shape.value = Shape.ICOSAHEDRON
    first, *_, last = browser.points
    browser.points[first].click()
    before = browser.series_view.value
    browser.points[last].click()
    assert browser.series_view.value != before and f"Wave {last} of" in browser.caption.value
    assert [group for group, point in browser.points.items() if ACTIVE in point._dom_classes] == [last]
    assert alts(browser.series_view.value) == [f"icosahedron, wave {last}, at −70 Å, +10 Å, +90 Å"]
    assert "waves of the icosahedron" in alts(browser.sphere.children[0].value)[0]


def test_click_on_a_cell_shows_its_images_its_place_and_the_second_choice(confusion):
    assert "cube called octahedron</b>: 2 or 33.33% of its images" in confusion.words.value, (
        "the most frequent mistake first"
    )
    assert confusion.cells[Shape.CUBE, Shape.OCTAHEDRON].description == "2"
    confusion.cells[Shape.CUBOCTAHEDRON, Shape.CUBE].click()
    assert "cuboctahedron called cube</b>: 1 or 16.67% of its images" in confusion.words.value
    assert "Second choice: cuboctahedron 1 (100%)" in confusion.words.value
    assert alts(confusion.sphere.value) == ["1 beam directions of the cuboctahedron, reduced by symmetry"]
    (alt,) = alts(confusion.pictures.value)
    assert alt.startswith("1 of 1 images: 50 Å, 0 Å, cube 99%, cuboctahedron 1%")
    confusion.cells[Shape.OCTAHEDRON, Shape.CUBE].click()
    assert "No image of the octahedron is called cube" in confusion.words.value and confusion.pictures.value == ""


def test_cells_count_all_images_and_may_have_fewer_pictures(confusion):
    counts = {pair: int(button.description) for pair, button in confusion.cells.items()}
    assert sum(counts.values()) == len(confusion.predictions)
    confusion.choose(Shape.ICOSAHEDRON, Shape.ICOSAHEDRON)
    assert counts[Shape.ICOSAHEDRON, Shape.ICOSAHEDRON] == 6
    assert alts(confusion.pictures.value)[0].startswith("5 of 6 images"), "the last image has no picture"


def test_both_widgets_can_be_kept_on_a_page(browser, confusion):
    for widget in (browser, confusion):
        assert embed_data(views=[widget])["view_specs"]
