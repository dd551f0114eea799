"""Data sets: the same bytes from the same design, however they were made, and splits that share nothing."""

from itertools import combinations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, SplitDesign
from nanoshape_lib.datasets.generation import cost, make_record, seconds_per_wave
from nanoshape_lib.datasets.images import load_images, make_images, save_images
from nanoshape_lib.datasets.store import Files, Store, prepare
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.shapes import build
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.imaging import focal_series

# ------------------------------------------------------------------ records


def test_a_record_depends_on_seed_split_and_index_alone(tiny_design):
    first, again = make_record(tiny_design, "train", 4), make_record(tiny_design, "train", 4)
    assert np.array_equal(first.scene.particle.positions, again.scene.particle.positions)
    assert first.scene.film == again.scene.film
    larger = tiny_design.model_copy(update={"train": SplitDesign(orientations=50, blocks=(0,))})
    assert np.array_equal(first.rotation, make_record(larger, "train", 4).rotation)
    others = [
        make_record(tiny_design.model_copy(update={"seed": 8}), "train", 4),
        make_record(tiny_design, "test", 4),
        make_record(tiny_design, "train", 9),
    ]
    assert all(not np.allclose(first.rotation, other.rotation) for other in others)


def test_every_prefix_of_a_split_is_balanced(tiny_design):
    design = tiny_design.model_copy(update={"sizes_A": (40.0, 50.0, 60.0)})
    records = [make_record(design, "train", index) for index in range(35)]
    labels = np.array([record.label for record in records])
    for n in range(1, len(records) + 1):
        counts = np.bincount(labels[:n], minlength=5)
        assert counts.max() - counts.min() <= 1
    for index, record in enumerate(records):
        assert record.size_A == pytest.approx(design.sizes_A[index // 5 % 3], abs=5)


def test_the_rotation_of_a_record_is_that_of_its_particle(tiny_design):
    for index in range(5):
        record = make_record(tiny_design, "train", index)
        at_rest = build(record.label, tiny_design.sizes_A[0]).positions
        placed = record.scene.particle.positions
        found, _ = Rotation.align_vectors(placed - placed.mean(axis=0), at_rest - at_rest.mean(axis=0))
        assert (found * Rotation.from_matrix(record.rotation).inv()).magnitude() < np.radians(0.2)
        assert record.block == record.scene.film.block and record.atoms == len(at_rest)
        off_centre = np.abs(placed[:, :2].mean(axis=0) - 64)
        assert (off_centre < tiny_design.max_shift_A + 0.1).all()


def test_the_beam_meets_film_or_particle_first(tiny_design):
    other = tiny_design.model_copy(update={"beam": "particle first"})
    before, after = (make_record(design, "train", 3).scene for design in (tiny_design, other))
    assert (before.particle.positions[:, 2] > 0).all() and (after.particle.positions[:, 2] < 0).all()
    assert before.film == after.film
    assert np.allclose(before.particle.positions[:, :2], after.particle.positions[:, :2])


def test_a_record_made_twice_is_not_spoilt_by_what_was_done_to_the_first(tiny_design):
    first = make_record(tiny_design, "train", 2)
    positions = first.scene.particle.positions.copy()
    first.scene.particle.positions += 5
    assert np.array_equal(make_record(tiny_design, "train", 2).scene.particle.positions, positions)


# ------------------------------------------------------------------ designs


def test_a_block_that_serves_two_splits_is_refused():
    shared = SplitDesign(orientations=1, blocks=(0, 1))
    other = SplitDesign(orientations=1, blocks=(2,))
    with pytest.raises(ValidationError, match=r"each of 0 to 13 may serve one split only"):
        DatasetDesign(sizes_A=(40,), train=shared, validation=shared, test=other, defoci_A=(0,))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fidelity": "perfect"}, "fidelity is 'perfect', but must be one of fast, standard, reference"),
        ({"sizes_A": []}, "sizes_A and defoci_A must each hold at least one value"),
        ({"test": {"orientations": 1, "blocks": [14]}}, "each of 0 to 13 may serve one split only"),
        ({"test": {"orientations": 0, "blocks": [2]}}, "greater than or equal to 1"),
        ({"test": {"orientations": 1, "blocks": []}}, "at least 1 item"),
        ({"beam": "upwards"}, "'film first' or 'particle first'"),
        ({"defoci_A": [float("nan")]}, "finite number"),
        ({"sizes_A": [40, 200]}, "size is 200 Å, but must lie within 5 Å of a size at which the cube exists"),
        ({"sizes_A": [40, 90]}, "sizes_A holds 90 Å, but the octahedron of that size, 126 Å wide, must fit into 124 Å"),
        ({"camera": {"pixels": 100}}, r"pixel_size_A is 100 Å, but must be 128 Å, the field"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(tiny_design, change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        DatasetDesign.model_validate(tiny_design.model_dump() | change)


def test_design_survives_json(tiny_design):
    assert DatasetDesign.model_validate_json(tiny_design.model_dump_json()) == tiny_design


def test_the_cost_is_what_the_store_then_has(tiny_design, tiny_store):
    waves, images, size = cost(tiny_design)
    assert (waves, images) == (25, 75)
    there = sum(path.stat().st_size for path in tiny_store.path.rglob("*") if path.is_file())
    assert size == pytest.approx(there, rel=0.01)


def test_a_wave_takes_longer_in_a_larger_particle(tiny_design):
    large = tiny_design.model_copy(update={"sizes_A": (75.0,)})
    assert 0 < seconds_per_wave(tiny_design) < seconds_per_wave(large) < 30


# ------------------------------------------------------------------ stores


def test_a_stored_wave_is_the_exit_wave(tiny_store, tiny_design):
    record = make_record(tiny_design, "test", 3)
    wave = exit_wave(record.scene, tiny_design.microscope, tiny_design.fidelity)
    stored = tiny_store.waves("test", 3, 4)[0]
    assert np.linalg.norm(stored - wave) < 5e-4 * np.linalg.norm(wave)
    noiseless = tiny_design.camera.model_copy(update={"dose_e_A2": None})
    pair = [focal_series(w, np.array([50.0]), tiny_design.microscope, noiseless)[0] for w in (stored, wave)]
    assert (pair[0] - pair[1]).std() < 0.01 * pair[1].std()
    row = tiny_store.table("test").iloc[3]
    assert (row["label"], row["atoms"], row["block"]) == (record.label, record.atoms, record.block)
    assert row[["beam_x", "beam_y", "beam_z"]].to_numpy(float) == pytest.approx(record.rotation[2])


def test_splits_share_neither_carbon_nor_orientations(tiny_store):
    tables = {split: tiny_store.table(split) for split in SPLITS}
    for first, second in combinations(SPLITS, 2):
        assert not set(tables[first]["block"]) & set(tables[second]["block"])
        beams = [set(map(tuple, tables[split][["beam_x", "beam_y", "beam_z"]].to_numpy())) for split in (first, second)]
        assert not beams[0] & beams[1]
    assert all(table["group"].is_unique for table in tables.values())


# ------------------------------------------------------------------ image sets


@pytest.mark.parametrize("turned", [False, True])
def test_images_do_not_depend_on_how_many_are_made(tiny_store, turned):
    few, more = (make_images(tiny_store, "train", waves=n, turned=turned) for n in (2, 4))
    assert torch.equal(few.images, more.images[:6])
    assert few.table.equals(more.table.iloc[:6])
    assert few.table["defocus_A"].tolist() == [-70, 10, 90] * 2
    assert few.table["group"].tolist() == [0] * 3 + [1] * 3


def test_images_are_standardised_and_splits_have_their_own_noise(tiny_store):
    images = make_images(tiny_store, "test").images.float()
    assert images.mean(dim=(1, 2)).abs().max() < 1e-3
    assert images.std(dim=(1, 2)).sub(1).abs().max() < 1e-3
    plain, turned = (make_images(tiny_store, "test", waves=1, turned=turned).images for turned in (False, True))
    assert not torch.allclose(plain.float(), turned.float(), atol=0.5)


def test_kept_images_come_back_unchanged(tiny_store, tmp_path):
    images = make_images(tiny_store, "test", waves=2)
    save_images(images, tmp_path / "test")
    loaded = load_images(tmp_path / "test")
    assert torch.equal(loaded.images, images.images) and len(loaded) == 6
    assert loaded.table.equals(images.table.astype(loaded.table.dtypes.to_dict()))
    chosen = loaded.take(np.array([5, 0]))
    assert chosen.labels.tolist() == [1, 0] and torch.equal(chosen.images[0], images.images[5])


@pytest.mark.parametrize("waves", [0, 16])
def test_more_waves_than_there_are_are_refused(tiny_store, waves):
    with pytest.raises(NanoshapeError, match=f"waves is {waves}, but must be between 1 and 15, the train waves"):
        make_images(tiny_store, "train", waves=waves)


def test_images_of_an_unfinished_store_are_refused(tiny_design, tmp_path):
    prepare(Files(tmp_path / "empty"), tiny_design)
    with pytest.raises(NanoshapeError, match="not finished"):
        make_images(Store(tmp_path / "empty"), "train")
