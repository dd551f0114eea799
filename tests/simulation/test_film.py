"""The carbon blocks against what is known of amorphous carbon, and the particle laid on them."""

import shutil

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from nanoshape_lib import paths
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.orientation import random_rotations
from nanoshape_lib.particles.shapes import Shape, build
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.film import BLOCKS, Placement, density_g_cm3, deposit, load_block, radial_distribution

each_block = pytest.mark.parametrize("number", range(BLOCKS))


@each_block
def test_carbon_has_density_and_distances_of_amorphous_carbon(number):
    block = load_block(number)
    lengths = block.cell.lengths()
    assert lengths[:2] == pytest.approx(FIELD_A)
    assert 20 <= lengths[2] <= 80
    assert 1.8 <= density_g_cm3(block) <= 2.3
    tree = cKDTree(block.positions, boxsize=lengths)
    nearest = tree.query(block.positions, k=2)[0][:, 1]
    assert nearest.min() >= 1.2
    r, g = radial_distribution(block)
    assert 1.40 <= r[np.argmax(g)] <= 1.55
    assert g[r < 1.2].max() == 0
    assert g[r > 5].mean() == pytest.approx(1, abs=0.05)


def test_radial_distribution_of_a_lattice_counts_its_shells():
    block = load_block(0).copy()
    spacing = FIELD_A / 32
    block = block[: 32 * 32 * 8]
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), np.arange(8), indexing="ij"), -1).reshape(-1, 3)
    block.set_cell([FIELD_A, FIELD_A, 8 * spacing])
    block.positions = (grid + 0.5) * spacing
    r, g = radial_distribution(block, maximum_A=1.5 * spacing)
    in_shells = g * 4 * np.pi * r**2 * 0.05 / spacing**3
    assert in_shells[np.abs(r - spacing) < 0.1].sum() == pytest.approx(6, rel=0.01)
    assert in_shells[np.abs(r - np.sqrt(2) * spacing) < 0.1].sum() == pytest.approx(12, rel=0.01)


def test_blocks_are_different_structures():
    density = [np.histogram2d(*load_block(n).positions[:, :2].T, bins=64)[0] for n in range(BLOCKS)]
    turned = [np.rot90(map_, turns) for map_ in density for turns in range(4)]
    correlation = np.corrcoef([map_.ravel() for map_ in turned])
    same = np.kron(np.eye(BLOCKS), np.ones((4, 4)))
    assert np.abs(correlation[same == 0]).max() < 0.1


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarter_turns", range(4))
def test_a_placed_field_is_the_field_of_the_placed_atoms(quarter_turns, mirror):
    n, q = 128, np.arange(-3, 4) / FIELD_A
    x = np.arange(n) * FIELD_A / n

    def field(positions):
        """Low spatial frequencies of the density: smooth, periodic, and without symmetry."""
        wave_x, wave_y = (np.exp(-2j * np.pi * q[:, None] * positions[:, axis]) for axis in (0, 1))
        to_grid = np.exp(2j * np.pi * x[:, None] * q)
        return (to_grid @ (wave_x @ wave_y.T) @ to_grid.T).real

    original, placement = Placement(3), Placement(3, (14, 90), quarter_turns, mirror)
    expected = field(placement.positions())
    sampled = placement.sample(torch.as_tensor(field(original.positions()))).numpy()
    assert np.abs(sampled - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("shape", list(Shape), ids=lambda shape: shape.name.lower())
def test_particle_touches_the_film(shape):
    for number, rotation in enumerate(random_rotations(4, np.random.default_rng(int(shape)))):
        particle = build(shape, 50)
        particle.positions = particle.positions @ rotation.T
        scene = deposit(particle, Placement(2 * number, (31, 77), number, bool(number % 2)))
        gold, carbon = scene.particle.positions, scene.atoms().positions[len(particle) :]
        assert 2.0 <= cKDTree(carbon).query(gold)[0].min() <= 3.0
        assert carbon[:, 2].max() <= 0 < gold[:, 2].min()
        assert scene.mid_plane_A == pytest.approx((gold[:, 2].min() + gold[:, 2].max()) / 2)


@pytest.mark.parametrize("placement", [Placement(1), Placement(4, (31, 77), 3, True)])
def test_a_particle_upstream_touches_the_other_face_of_its_film(placement):
    scene = deposit(build("octahedron", 50), placement, downstream=True)
    gold, carbon = scene.particle.positions, scene.atoms().positions[len(scene.particle) :]
    assert gold[:, 2].max() < 0 <= carbon[:, 2].min() and carbon[:, 2].max() <= scene.film_thickness_A
    assert 2.0 <= cKDTree(carbon).query(gold)[0].min() <= 3.0
    assert scene.mid_plane_A == pytest.approx((gold[:, 2].min() + gold[:, 2].max()) / 2)
    # Nothing is mirrored: the particle keeps its handedness.
    moved = gold - build("octahedron", 50).positions
    assert np.abs(moved - moved[0]).max() < 1e-9


def test_part_of_a_placed_field_is_that_part_of_it():
    field = torch.arange(256.0 * 256).reshape(256, 256)
    placement = Placement(0, (5, 120), 1, True)
    rows, columns = torch.arange(-20, 70)[:, None], torch.arange(230, 300)[None, :]
    whole = placement.sample(field)
    assert torch.equal(placement.sample(field, rows, columns), whole[rows % 256, columns % 256])
    with pytest.raises(NanoshapeError, match="the field has 200 pixels, but must have a multiple of 128"):
        placement.sample(torch.zeros(200, 200))


def test_a_scene_without_film_holds_the_particle_alone():
    scene = deposit(build("octahedron", 40), None, (5.0, -3.0))
    assert set(scene.atoms().get_chemical_symbols()) == {"Au"} and scene.film_thickness_A == 0
    assert scene.particle.positions[:, :2].mean(axis=0) == pytest.approx([FIELD_A / 2 + 5, FIELD_A / 2 - 3])


def test_a_particle_outside_the_field_is_refused():
    with pytest.raises(NanoshapeError, match=r"shift is \(50.0, 0.0\) Å, but the particle must stay within the field"):
        deposit(build("cube", 60), Placement(0), (50.0, 0.0))


@pytest.mark.parametrize("number", [-1, 14])
def test_an_unknown_block_is_refused(number):
    with pytest.raises(NanoshapeError, match=f"block is {number}, but must be a whole number from 0 to 13"):
        load_block(number)


@pytest.fixture
def copied_data(tmp_path, monkeypatch):
    """A folder of its own with the manifest and one carbon block, in place of the shipped data."""
    (tmp_path / "carbon").mkdir()
    shutil.copy(paths.MANIFEST, tmp_path)
    shutil.copy(paths.DATA / "carbon/block_05.npz", tmp_path / "carbon")
    monkeypatch.setattr(paths, "DATA", tmp_path)
    monkeypatch.setattr(paths, "MANIFEST", tmp_path / "MANIFEST.sha256")
    load_block.cache_clear()
    yield tmp_path
    load_block.cache_clear()


def test_a_missing_or_changed_carbon_file_is_named_with_the_hash_it_must_have(copied_data):
    expected = paths.read_manifest()
    assert len(load_block(5)) > 1000
    with pytest.raises(
        NanoshapeError, match=f"^data/carbon/block_06.npz is missing; .*{expected['carbon/block_06.npz']}"
    ):
        load_block(6)
    file = copied_data / "carbon/block_05.npz"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    load_block.cache_clear()
    with pytest.raises(NanoshapeError, match=f"block_05.npz has SHA-256 .*, but {expected['carbon/block_05.npz']} is"):
        load_block(5)


def test_files_outside_the_manifest_and_a_missing_manifest_are_refused(copied_data):
    with pytest.raises(NanoshapeError, match=r"data file is 'other\.npz', but must be one of those listed"):
        paths.data_file("other.npz")
    paths.MANIFEST.unlink()
    with pytest.raises(NanoshapeError, match=r"MANIFEST.sha256 is missing: install the package again"):
        load_block(5)


def test_the_manifest_lists_exactly_the_shipped_data(copied_data):
    listed = paths.read_manifest()
    assert {f"carbon/block_{number:02d}.npz" for number in range(BLOCKS)} <= listed.keys()
    (copied_data / "notes.md").write_text("not data")
    assert paths.write_manifest() == 1
    assert paths.read_manifest() == {"carbon/block_05.npz": listed["carbon/block_05.npz"]}
