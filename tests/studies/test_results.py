"""Shipped results: what was written is what is read, and where it came from stands beside it."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import load_results, provenance, save_results


def test_results_come_back_with_their_provenance(tmp_path):
    table = pd.DataFrame({"architecture": ["cnn4", "cnn6"], "test_accuracy": [0.25, 2 / 3]})
    profile = load_profile("smoke", 3)
    path = save_results("architectures", table, provenance(profile, 4, 2, 0.5), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["architectures.csv", "architectures.json"]
    found, origin = load_results(path.stem, tmp_path)
    assert_frame_equal(found, table, rtol=1e-5)
    assert origin["profile"]["dataset"]["seed"] == 3 and origin["trainings"] == {"expected": 4, "finished": 2}
    assert origin["hardware"]["cores"] >= 1 and origin["hardware"]["processor"]


def test_unknown_results_are_refused_with_the_list_of_known_ones(tmp_path):
    save_results("sampling", pd.DataFrame({"a": [1]}), {}, tmp_path)
    with pytest.raises(NanoshapeError, match=r"results are 'best', but must be one of .*: sampling"):
        load_results("best", tmp_path)
