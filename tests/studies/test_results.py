"""Shipped results: what was written is what is read, whenever the writing was interrupted."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.studies import results
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import load_results, provenance, save_tables


def test_results_come_back_with_their_provenance(tmp_path):
    table = pd.DataFrame({"architecture": ["cnn4", "cnn6"], "test_accuracy": [0.25, 2 / 3]})
    save_tables({"architectures": (table, provenance(load_profile("smoke", 3)))}, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["architectures.csv", "architectures.json"]
    found, origin = load_results("architectures", tmp_path)
    assert_frame_equal(found, table, rtol=1e-5)
    assert origin["profile"]["dataset"]["seed"] == 3
    assert origin["hardware"]["cores"] >= 1 and origin["hardware"]["processor"]


@pytest.mark.parametrize("moment", range(6))
def test_tables_whose_writing_is_interrupted_are_all_the_old_ones_or_all_the_new_ones(tmp_path, monkeypatch, moment):
    old, new = ({name: (pd.DataFrame({"part": [n]}), {"n": n}) for name in ("a", "b")} for n in (1, 2))
    save_tables(old, tmp_path)
    written, real = [], results.replacing

    def interrupted(path):
        if len(written) == moment:
            raise KeyboardInterrupt
        written.append(path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(results, "replacing", interrupted)
        if moment < 5:
            with pytest.raises(KeyboardInterrupt):
                save_tables(new, tmp_path)
        else:
            save_tables(new, tmp_path)
    found = [load_results(name, tmp_path) for name in ("a", "b")]
    assert {(int(table["part"][0]), origin["n"]) for table, origin in found} == {(1, 1) if moment == 0 else (2, 2)}
    save_tables({"c": old["a"]}, tmp_path)
    assert not (tmp_path / results.PENDING).exists()
    for name, earlier in zip(("a", "b"), found, strict=True):
        assert_frame_equal(load_results(name, tmp_path)[0], earlier[0])


def test_unknown_results_are_refused_with_the_list_of_known_ones(tmp_path):
    save_tables({"sampling": (pd.DataFrame({"a": [1]}), {})}, tmp_path)
    with pytest.raises(NanoshapeError, match=r"results are 'best', but must be one of .*: sampling"):
        load_results("best", tmp_path)
