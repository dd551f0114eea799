"""Errors of the named grids and of the treatments of partial coherence."""

import abtem
import numpy as np
import pytest
from fourier import fourier_crop, squared_frequencies

from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.simulation.exit_waves import FIDELITIES, Fidelity, exit_wave
from nanoshape_lib.simulation.optics import Microscope
from nanoshape_lib.simulation.validation import (
    coherence_images,
    coherence_table,
    convergence_table,
    damped_potential_wave,
    large_scenes,
    potential_table,
    relative_error,
    standard_scenes,
)

MICROSCOPE = Microscope()
GENERAL = "general orientation"


@pytest.fixture(scope="module")
def scenes():
    return standard_scenes(0)


def test_relative_error_ignores_the_mean_of_the_reference_alone():
    reference = 5 + np.array([1.0, -1.0, 1.0, -1.0])
    assert relative_error(reference, reference) == 0
    assert relative_error(reference + 1, reference) == pytest.approx(1)
    assert relative_error(5 + 0.9 * (reference - 5), reference) == pytest.approx(0.1)


@pytest.mark.slow
def test_named_fidelities_are_as_near_to_a_finer_grid_as_is_said_of_them(scenes):
    names = ("fast", "standard", "reference")
    table = convergence_table({GENERAL: scenes[GENERAL]}, [FIDELITIES[name] for name in names], MICROSCOPE)
    assert table["pixels"].tolist() == [512, 768, 1536]
    assert (table["wave"] < table["images_low"] + 0.05).all()
    bounds = np.array([0.14, 0.06, 0.02])
    assert (bounds / 4 < table["images_low"]).all() and (table["images_high"] < bounds).all()


def test_finer_grids_are_nearer_and_zone_axes_are_harder(scenes):
    table = convergence_table(scenes, [(0.4, 4), (0.25, 4)], MICROSCOPE, Fidelity(0.2, 2.0))
    by_scene = table.pivot(index="scene", columns="sampling_A", values="images_high")
    assert (by_scene[0.25] < by_scene[0.4]).all()
    assert (by_scene.loc["along [001]"] > by_scene.loc[GENERAL]).all()


@pytest.mark.slow
def test_damping_the_potential_makes_coarse_grids_several_times_worse_and_fine_ones_hardly(scenes):
    table = potential_table(scenes[GENERAL], [(0.25, 4), (1 / 6, 3)], MICROSCOPE, FIDELITIES["reference"])
    by_potential = table.pivot(index="sampling_A", columns="potential", values="images_high")
    assert (by_potential["damped"] > 2.5 * by_potential["whole"]).all()
    fine = Fidelity(1 / 12, 3.0)
    apart = relative_error(
        damped_potential_wave(scenes[GENERAL], MICROSCOPE, fine), exit_wave(scenes[GENERAL], MICROSCOPE, fine)
    )
    assert apart < 0.04


def test_the_wave_of_a_damped_potential_is_abtems(scenes):
    scene, grid = scenes[GENERAL], Fidelity(0.25, 4.0)
    atoms = scene.particle.copy()
    height = np.ceil((atoms.positions[:, 2].max() + 1) / grid.slice_A) * grid.slice_A
    atoms.set_cell([FIELD_A, FIELD_A, height])
    with abtem.config.set({"dask.lazy": False, "diagnostics.progress_bar": False}):
        potential = abtem.Potential(atoms, gpts=grid.pixels, slice_thickness=grid.slice_A, parametrization="kirkland")
        theirs = np.asarray(abtem.PlaneWave(energy=MICROSCOPE.energy_eV).multislice(potential).array)
    ours = damped_potential_wave(scene, MICROSCOPE, grid)
    u = squared_frequencies(len(ours))
    back = np.exp(1j * np.pi * MICROSCOPE.wavelength_A * (height + grid.slice_A / 2 - scene.mid_plane_A) * u)
    spectrum = fourier_crop(np.fft.fft2(theirs), len(ours)) * back * (u <= MICROSCOPE.aperture_per_A**2)
    # abTEM also limits the transmission functions to two thirds of the Nyquist frequency.
    assert relative_error(ours, np.fft.ifft2(spectrum)) < 0.03


def test_large_scenes_are_three_shapes_of_about_the_size_asked_for():
    found = large_scenes(60.0)
    assert list(found) == ["cube", "octahedron", "icosahedron"]
    for scene in found.values():
        assert scene.particle.info["size_A"] == pytest.approx(60, abs=5) and scene.film is None


def test_the_low_rank_form_is_right_and_the_envelope_on_the_wave_is_not(scenes):
    wave = exit_wave(scenes[GENERAL], MICROSCOPE, "fast")
    table = coherence_table([coherence_images(wave, 70.0, MICROSCOPE)], [70.0], MICROSCOPE).set_index("treatment")
    assert table.loc["low rank", "error"] < 0.005
    assert table["coherent images"].to_dict() == {"explicit": 625, "low rank": 3, "quasi-coherent": 1}
    assert table.loc["quasi-coherent", "error"] > 0.1
    assert table.loc["quasi-coherent", "mean intensity"] < table.loc["low rank", "mean intensity"] - 0.002
    assert table.loc["low rank", "mean intensity"] == pytest.approx(table.loc["explicit", "mean intensity"], abs=2e-4)
