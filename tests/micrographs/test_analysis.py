"""From files to shapes: the whole way, on micrographs whose truth is known."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from nanoshape_lib.cli import app
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.micrographs.analysis import WEIGHTS, Explainer, analyse, analyse_all, labels, predictions
from nanoshape_lib.micrographs.report import summary, write_report
from nanoshape_lib.networks.features import symmetries
from nanoshape_lib.networks.models import load_weights
from nanoshape_lib.simulation.imaging import focal_series
from nanoshape_lib.trust.classifier import CLASSES, Classifier


@pytest.fixture(scope="module")
def classifier():
    return Classifier(WEIGHTS)


@pytest.fixture(scope="module")
def analysis(micrograph, classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "micrograph.npy"
    np.save(path, micrograph.images[0])
    return analyse(path, classifier, micrograph.pixel_size_A)


def test_particles_of_a_micrograph_get_their_names_or_are_refused(analysis, micrograph):
    truth, table = micrograph.truth, analysis.table
    near = np.hypot(
        truth["row"].to_numpy() - table["row"].to_numpy()[:, None],
        truth["column"].to_numpy() - table["column"].to_numpy()[:, None],
    ).argmin(axis=1)
    right = table["predicted"] == truth["shape"].iloc[near].to_numpy()
    assert len(table) == len(truth)
    assert right.mean() >= 0.9 and table["known"].mean() >= 0.7
    assert analysis.crops.shape == (len(table), 1, 128, 128)
    assert any("brightness" in note for note in analysis.micrograph.notes)


def test_probabilities_are_the_temperature_scaled_mean_over_eight_symmetries(analysis):
    network, _ = load_weights(WEIGHTS)
    temperature = Classifier(WEIGHTS)._members[0][1].temperature
    views = symmetries(torch.as_tensor(analysis.crops[:, 0]))
    with torch.inference_mode():
        logits = torch.stack([network(view[:, None]) for view in views]).mean(dim=0)
    expected = (logits / temperature).softmax(dim=1).numpy()
    # The classifier may compute in bfloat16.
    np.testing.assert_allclose(analysis.table[CLASSES], expected, atol=0.05)


def test_a_focal_series_is_one_particle_seen_several_times(tmp_path, classifier, tiny_store):
    wave = tiny_store.waves("test", 0, 1)[0]
    design = tiny_store.design
    series = focal_series(wave, np.array([-60.0, 0.0, 60.0]), design.microscope, design.camera, 3)
    np.save(tmp_path / "series.npy", series)
    found = analyse(tmp_path / "series.npy", classifier, 1.0, whole_field=True)
    assert found.table["images"].tolist() == [3]
    assert "the 3 images" in " ".join(found.micrograph.notes)
    each = [
        analyse(_saved(tmp_path / f"{place}.npy", image), classifier, 1.0, whole_field=True).crops[0, 0]
        for place, image in enumerate(series)
    ]
    np.testing.assert_allclose(found.crops[0], each, atol=1e-5)


def _saved(path, image):
    np.save(path, image)
    return path


def test_without_particles_the_table_is_empty_and_the_report_says_so(tmp_path, classifier, rng):
    path = _saved(tmp_path / "noise.npy", rng.poisson(100, (300, 300)).astype(float))
    found = analyse(path, classifier, 1.0, explainer=Explainer(classifier))
    assert found.table.empty and "no particle was found" in found.micrograph.notes[-1]
    page = write_report(tmp_path / "report", [found], [], "one network")
    assert "no particle was found" in page.read_text()
    assert summary(predictions([found])) == "no particles"


def test_pixels_too_coarse_to_show_a_lattice_are_refused(tmp_path, classifier, rng):
    path = _saved(tmp_path / "coarse.npy", rng.random((200, 200)))
    with pytest.raises(NanoshapeError, match=r"pixel_size_A is 3 Å, but must lie between 0\.05 and 1\.25 Å"):
        analyse(path, classifier, 3.0)


def test_a_file_of_pixels_too_coarse_is_named(tmp_path, classifier, rng):
    tifffile.imwrite(tmp_path / "a.tif", rng.random((200, 200)), resolution=(4e7, 4e7), resolutionunit="CENTIMETER")
    with pytest.raises(NanoshapeError, match=r"a\.tif has pixels of 2\.5 Å, too coarse to show fringes"):
        analyse(tmp_path / "a.tif", classifier)


@pytest.mark.parametrize("factor", [1e30, -1.0, 1e-30])
def test_the_unit_of_brightness_does_not_matter(analysis, micrograph, classifier, factor):
    image = np.asarray(micrograph.images[:1]) * np.float32(abs(factor))
    image = image - 2 * image.mean() if factor < 0 else image
    found = analyse(replace(micrograph, images=image), classifier).table.sort_values("row")
    expected = analysis.table.sort_values("row")
    np.testing.assert_allclose(found[["row", "column"]], expected[["row", "column"]], atol=0.5)
    assert found["predicted"].tolist() == expected["predicted"].tolist()


def test_files_of_one_name_and_files_without_particles_in_one_table(tmp_path, analysis, classifier):
    for folder in ("a/x", "b/x", "c"):
        (tmp_path / folder).mkdir(parents=True)
    empty = replace(analysis, table=pd.DataFrame(), micrograph=replace(analysis.micrograph, path="none.tif"))
    paths = ["a/x/same.tif", "b/x/same.tif", "c/same.tif", "c/other.tif"]
    same = [replace(analysis, micrograph=replace(analysis.micrograph, path=str(tmp_path / path))) for path in paths]
    assert labels([empty, *same]) == ["none.tif", "a/x/same.tif", "b/x/same.tif", "c/same.tif", "other.tif"]
    table = predictions([empty, *same])
    assert table["file"].unique().tolist() == labels(same)
    assert table["particle"].dtype.kind == "i" and table["images"].dtype.kind == "i"
    assert labels(same[:1]) == labels([same[0], same[0]])[:1] == ["same.tif"]


def test_a_batch_goes_on_after_bad_files(tmp_path, analysis, classifier, micrograph):
    (tmp_path / "empty.dm4").write_bytes(b"")
    files = [tmp_path / "empty.dm4", analysis.micrograph.path, tmp_path / "missing.tif"]
    good, refused = analyse_all(files, classifier, micrograph.pixel_size_A)
    assert len(good) == 1
    assert [str(error).count("\n") for error in refused] == [0, 0]
    assert "empty.dm4" in str(refused[0]) and "missing.tif" in str(refused[1])
    with pytest.raises(NanoshapeError, match="paths is empty"):
        analyse_all([], classifier)


def test_command_writes_a_table_and_a_page_and_fails_if_a_file_did(tmp_path, analysis, micrograph):
    (tmp_path / "empty.dm4").write_bytes(b"")
    options = ["--pixel-size", str(micrograph.pixel_size_A), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["predict", analysis.micrograph.path, str(tmp_path / "empty.dm4"), *options])
    assert result.exit_code == 1
    assert "Traceback" not in result.output and "empty.dm4 is empty" in result.output
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    pd.testing.assert_series_equal(table["predicted"], analysis.table["predicted"])
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count('<th scope="row">') == len(table)
    assert "http" not in page.replace("http-equiv", "")
    assert not list((tmp_path / "out").glob("*.partial"))
    assert CliRunner().invoke(app, ["predict", analysis.micrograph.path, *options]).exit_code == 0


def test_notes_of_a_file_that_ends_in_an_error_and_every_other_note_name_it(tmp_path, analysis, classifier, rng):
    noise = _saved(tmp_path / "noise.npy", rng.random((200, 200)))
    result = CliRunner().invoke(app, ["predict", str(noise), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and f"Note: {noise} does not say how large its pixels are." in result.stderr
    assert f"{noise} does not say how large" in (tmp_path / "out" / "index.html").read_text()
    spoiled = replace(analysis.micrograph, images=np.kron(analysis.micrograph.images, np.ones((1, 1, 2)))[..., :600])
    notes = analyse(spoiled, classifier).micrograph.notes
    assert notes and all(analysis.micrograph.path in note for note in notes)


def test_a_folder_that_cannot_be_written_is_said_before_the_analysis(tmp_path, analysis, monkeypatch):
    monkeypatch.setattr("nanoshape_lib.micrographs.analysis.analyse", None)
    (tmp_path / "file").write_bytes(b"")
    for out in ("file", "file/below"):
        result = CliRunner().invoke(app, ["predict", analysis.micrograph.path, "--out", str(tmp_path / out)])
        assert result.exit_code == 1 and "cannot be used" in result.stderr
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    result = CliRunner().invoke(app, ["predict", analysis.micrograph.path, "--out", str(tmp_path / "locked")])
    assert result.exit_code == 1 and "nothing can be written into that folder" in result.stderr


def test_names_of_files_cannot_break_the_page(tmp_path, analysis, classifier, micrograph):
    path = tmp_path / "<script>alert(1)<.npy"
    shutil.copy(analysis.micrograph.path, path)
    found = analyse(path, classifier, micrograph.pixel_size_A, explainer=Explainer(classifier))
    page = write_report(tmp_path / "out", [found], [], "a & b").read_text()
    assert "<script" not in page and "a &amp; b" in page


def test_unknown_weights_and_coverage_are_refused_in_a_sentence(tmp_path, analysis):
    for extra, words in ((["--coverage", "1.5"], "coverage is 1.5"), (["--weights", "none.safetensors"], "none")):
        result = CliRunner().invoke(app, ["predict", analysis.micrograph.path, "--out", str(tmp_path / "no"), *extra])
        assert result.exit_code == 1 and words in result.output
        assert not (tmp_path / "no").exists()


def test_several_networks_average_their_probabilities(analysis, classifier):
    other = WEIGHTS.with_name("cnn6.safetensors")
    images = torch.as_tensor(analysis.crops[:, 0])
    both = Classifier([WEIGHTS, other]).classify(images)[CLASSES]
    alone = [Classifier(path).classify(images)[CLASSES].to_numpy() for path in (WEIGHTS, other)]
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-6)
