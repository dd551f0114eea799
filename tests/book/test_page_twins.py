"""The live twins of figures S1, S2 and S4 in a browser, against the shipped tables."""

import shutil

import numpy as np
import pytest

from nanoshape_lib.datasets.images import load_examples
from nanoshape_lib.figures.html import RESULT_TWINS, result_twin
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.studies.results import load_results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(page_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    (folder / "executed").mkdir()
    (folder / "_static").mkdir()
    (folder / "_static" / "play").symlink_to(page_folder)
    body = "".join(map(result_twin, RESULT_TWINS))
    (folder / "executed" / "page.html").write_text(f'<!doctype html><html lang="en"><meta charset="utf-8">{body}')
    return folder


@pytest.fixture
def page(browser, folder):
    opened = browser.new_page()
    opened.set_default_timeout(20_000)
    opened.goto((folder / "executed" / "page.html").as_uri())
    opened.wait_for_selector(".twin-button")
    yield opened
    opened.close()


def status(page, name):
    return page.locator(f"[data-twin={name}] [role=status]").inner_text()


def test_every_point_of_s1_tells_its_trainings_to_the_keyboard(page):
    table, _ = load_results("architectures")
    groups = table.groupby(["architecture", "train_images"], sort=False)
    page.wait_for_selector(".twin-point")
    assert page.locator(".twin-point").count() == len(groups)
    for (architecture, images), part in groups:
        page.locator(f'.twin-point[aria-label^="{architecture}, {images:,} images:"]').focus()
        said = status(page, "s1")
        assert f"{100 * part['test_accuracy'].mean():.1f} %, the mean of {len(part)} training" in said
        assert all(f"{100 * low:.1f} % to" in said for low in part["test_low"])


def test_a_field_of_s2_tells_every_training(page):
    table, _ = load_results("sampling_confusions")
    waves = int(table["train_waves"].min())
    part = table[(table["train_waves"] == waves) & (table["expected"] == Shape.CUBOCTAHEDRON)]
    taken = part[part["predicted"] == Shape.TRUNCATED_OCTAHEDRON].set_index("seed")["images"]
    shares = taken / part.groupby("seed")["images"].sum()
    page.locator("[data-twin=s2] select").select_option(str(waves))
    page.get_by_role("button", name="cuboctahedron taken for truncated octahedron").click()
    page.wait_for_selector("[data-twin=s2] canvas")
    assert all(f"{100 * share:.1f} %" in status(page, "s2") for share in shares)
    assert f"{100 * np.mean(shares):.1f} % are taken" in status(page, "s2")


def test_a_failure_of_s4_shows_its_probabilities(page):
    table = load_examples("best_cnn6_examples").table
    failed = table[table["kind"] == "failed"].reset_index(drop=True)
    assert page.locator(".twin-button").count() == len(failed)
    page.locator(".twin-button").nth(5).click()
    row, shown = failed.iloc[5], page.locator("[data-twin=s4] .play-bars")
    answer = f"p{row['predicted']}"
    assert f"taken for a {Shape(row['predicted']).title}" in status(page, "s4")
    assert f"{100 * row[answer]:.1f} %" in shown.inner_text()
    assert shown.locator("strong").inner_text() == Shape(row["label"]).title


def test_a_missing_file_says_so_and_leaves_the_others(browser, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "book")
    (broken / "_static" / "play" / "twin-s1.js").unlink()
    opened = browser.new_page()
    opened.goto((broken / "executed" / "page.html").as_uri())
    opened.wait_for_selector(".twin-button")
    assert "twin-s1.js is missing beside this page" in status(opened, "s1")
    assert "Choose a field" in status(opened, "s2")
    opened.close()
