"""OOD scores against distributions that are known."""

import numpy as np
import pandas as pd
import pytest

from nanoshape_lib.networks.evaluation import particle_means
from nanoshape_lib.trust.ood import SCORES, WEIGHTS, Combination, Tail


def test_surprise_is_minus_the_logarithm_of_how_rare_a_value_is():
    tail = Tail.of(np.random.default_rng(1).exponential(size=20_000))
    values = np.array([0.1, 0.5, 2.0, 5.0, 8.0])
    assert tail.surprise(values) == pytest.approx(values, rel=0.07), "an exponential's survival function is exp(-x)"
    assert (np.diff(tail.surprise(np.linspace(-1, 20, 200))) >= 0).all()


def measured_of(rng, particles):
    """Scores of particles that are exponential, and quantities that are normal with known variances."""
    made, weights = {name: rng.exponential(size=particles) for name in SCORES}, rng.uniform(100, 400, particles)
    normal = {name: rng.standard_normal(particles) * np.sqrt(weights) for name in ("pixel size", "lattice")}
    return made | {name: np.stack([each, weights], axis=1) for name, each in normal.items()}


def test_means_over_the_images_of_a_particle_are_those_of_pandas():
    rng = np.random.default_rng(0)
    place, values = rng.permutation(np.repeat(np.arange(5), [1, 2, 4, 4, 3])), rng.normal(size=(14, 2))
    assert particle_means(values, place) == pytest.approx(pd.DataFrame(values).groupby(place).mean().to_numpy())


def test_the_combined_score_has_the_p_values_of_known_particles_and_rises_with_each_score():
    rng = np.random.default_rng(3)
    combination, fresh = Combination.fit(measured_of(rng, 4000)), measured_of(rng, 4000)
    assert (combination.p_value(combination.score(fresh)) < 0.1).mean() == pytest.approx(0.1, abs=0.02)
    parts = combination.parts(fresh)
    assert combination.score(fresh) == pytest.approx(np.linalg.norm(np.sqrt(parts), axis=1))
    surprises = np.sqrt(parts / list(WEIGHTS.values()))
    assert surprises.mean(axis=0) == pytest.approx(np.ones(len(SCORES)), abs=0.05), "an exponential has the mean one"
    for name in SCORES:
        higher = combination.score(fresh | {name: 3 * fresh[name] * ([1, 1 / 3] if fresh[name].ndim > 1 else 1)})
        assert (higher >= combination.score(fresh)).all() and higher.mean() > combination.score(fresh).mean()
