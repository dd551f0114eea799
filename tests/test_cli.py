"""The commands that make, check and show data sets: what they print, what they refuse, how they exit."""

import errno
import json
import re
import shutil

import matplotlib.image
import numpy as np
import pytest
from typer.testing import CliRunner

from nanoshape_lib.cli import _name_and_value, app
from nanoshape_lib.datasets import generation
from nanoshape_lib.datasets.generation import make_record
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.figures.microscopy import contact_sheet
from nanoshape_lib.simulation.exit_waves import exit_wave
from nanoshape_lib.simulation.imaging import focal_series


def run(*arguments):
    """Exit status, lines on standard output, lines on standard error."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    return result.exit_code, result.stdout.splitlines(), errors


@pytest.fixture
def design_file(tiny_design, tmp_path):
    """The tiny design as a YAML file; JSON is YAML."""
    path = tmp_path / "tiny.yml"
    path.write_text(json.dumps(tiny_design.model_dump(mode="json")))
    return path


def test_simulate_says_the_cost_first_and_makes_the_store_of_the_design(tiny_store, design_file, tmp_path):
    status, lines, _ = run("simulate", design_file, tmp_path / "waves.zarr", "--workers", 0)
    assert status == 0
    assert lines[0] == "15 train, 5 validation and 5 test waves x 3 defoci: 75 images from 6.6 MB of waves"
    assert lines[1].startswith("25 of 25 waves to make, ") and "in a trial of 5: about " in lines[1]
    made = Store(tmp_path / "waves.zarr")
    assert made.design == tiny_store.design and made.verify() == []
    assert np.array_equal(made.waves("train", 0, 15), tiny_store.waves("train", 0, 15))
    assert len(run("simulate", design_file, made.path, "--workers", 0)[1]) == 2, "no trial, and nothing to make"


def test_the_minutes_are_those_of_what_is_missing(design_file, copied, monkeypatch):
    shutil.rmtree(copied / "train/seal/c/1")
    monkeypatch.setattr("nanoshape_lib.datasets.generation.seconds_per_wave", lambda design, device: 600.0)
    monkeypatch.setattr("nanoshape_lib.datasets.generation.os.cpu_count", lambda: 4)
    lines = run("simulate", design_file, copied, "--workers", 0)[1]
    assert lines[1].startswith("5 of 25 waves to make, 600000 ms each in a trial of 5: about 50 minutes on 1 core")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e2", 100), ("1.5", 1.5), ("0", 0), ("yes", True), ("a=b", "a=b"), ("-1", -1), ("nan-o", "nan-o")],
)
def test_values_of_parameters_are_read_as_numbers_where_they_are_some(text, value):
    name, read = _name_and_value(f"seed={text}")
    assert name == "seed" and read == value and type(read) is type(value)


@pytest.mark.parametrize(("text", "value"), [("1e2", "'1e2'"), ("1.5", "1.5"), ("many", "'many'"), ("[1]", r"\[1\]")])
def test_a_design_that_is_no_design_is_refused_by_the_name_of_its_field(design_file, tmp_path, text, value):
    path = design_file.rename(tmp_path / "tiny.YML")
    path.write_text(re.sub(r'"seed": \d+', f'"seed": {text}', path.read_text()))
    status, _, errors = run("simulate", path, tmp_path / "waves.zarr", "--workers", 0)
    assert status == 1 and re.fullmatch(rf"Error: seed is {value}, but must be a whole number", errors[0])


def test_the_seed_of_the_command_line_wins_over_the_file_s(design_file, tmp_path):
    run("simulate", design_file, tmp_path / "waves.zarr", "--workers", 0, "--seed", 3)
    assert Store(tmp_path / "waves.zarr").design.seed == 3


@pytest.mark.parametrize(
    ("device", "sentence"),
    [("toaster", "must be cpu, cuda or cuda:N"), ("cuda:99", "but this machine has")],
)
def test_a_device_that_is_not_there_is_refused(design_file, tmp_path, device, sentence):
    for words in (("simulate", design_file, tmp_path / "waves.zarr", "--workers", 0), ("study", "ood")):
        status, _, errors = run(*words, "--device", device)
        assert status == 1 and f"device is '{device}'" in errors[0] and sentence in errors[0]
    assert not (tmp_path / "waves.zarr").exists()


def test_the_device_reaches_the_exit_wave(design_file, tmp_path, simulated, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr(generation, "exit_wave", lambda *args: simulated.append(args) or exit_wave(*args[:3]))
    status, _, _ = run("simulate", design_file, tmp_path / "waves.zarr", "--workers", 0, "--device", "cuda:0")
    assert status == 0 and len(simulated) == 25 + 10 and {args[3] for args in simulated} == {"cuda:0"}


def refusal(tmp_path, text):
    """The one sentence in which a design is refused, before anything is printed or made."""
    (tmp_path / "design.yml").write_text(text)
    status, lines, (error,) = run("simulate", tmp_path / "design.yml", tmp_path / "waves.zarr")
    assert status == 1 and lines == [] and not (tmp_path / "waves.zarr").exists()
    return error


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{sizes_A: [40]", "but that is no YAML"),
        ("[40, 50]", "but must hold the fields of a design"),
        ("{}", "sizes_A is missing"),
    ],
)
def test_a_file_that_is_no_design_is_refused(tmp_path, text, sentence):
    assert sentence in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sizes_A": [200]}, "Error: size is 200 Å, but must lie within 5 Å of a size at which the cube exists"),
        ({"colour": "red"}, "Error: colour is 'red', but there is no such field"),
        ({"seed": -1}, "Error: seed is -1, but must be greater than or equal to 0"),
    ],
)
@pytest.mark.parametrize("in_profile", [True, False])
def test_a_design_that_makes_no_sense_is_refused_before_any_work(tiny_design, tmp_path, change, sentence, in_profile):
    design = tiny_design.model_dump(mode="json") | change
    assert refusal(tmp_path, json.dumps({"dataset": design} if in_profile else design)).startswith(sentence)


@pytest.mark.parametrize(
    ("design", "sentence"),
    [
        ("nothing.yml", "design is 'nothing.yml', but there is no such file"),
        ("huge", "profile is 'huge', but must be one of: "),
    ],
)
def test_a_design_that_is_not_there_is_named(tmp_path, design, sentence):
    status, _, errors = run("simulate", design, tmp_path / "waves.zarr")
    assert status == 1 and sentence in errors[0]


def test_verify_lists_damaged_and_missing_files(tiny_store, copied):
    assert run("verify", tiny_store.path) == (0, [f"{tiny_store.path}: every file is as it was written."], [])
    file = copied / "test/atoms/c/0"
    file.write_bytes(b"X" + file.read_bytes()[1:])
    (copied / "train/label/zarr.json").unlink()
    status, lines, errors = run("verify", copied)
    assert status == 1
    assert lines == ["train/label/zarr.json is missing", "test/atoms/c/0 is damaged"]
    assert errors == [f"Error: {copied} has 2 missing or damaged files; simulate its design again to repair them"]


def test_info_says_what_is_there_and_what_is_missing(copied):
    shutil.rmtree(copied / "train/seal/c/1")
    status, lines, _ = run("info", copied)
    assert status == 0
    assert lines[0] == f"{copied}: schema 3, 6.6 MB in 52 files"
    assert "design: seed 7, fidelity fast, film first, 200 kV" in lines
    assert "sizes: 40 Å" in lines and "defoci: -70, 10, 90 Å" in lines
    assert lines[-3:] == [
        "train: 15 waves on carbon 0, 10 done, 5 missing",
        "validation: 5 waves on carbon 1, all done",
        "test: 5 waves on carbon 2, all done",
    ]


def test_a_reader_of_the_output_that_leaves_is_no_error_of_a_file(copied, monkeypatch):
    def leave(opened):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(Store, "lines", leave)
    assert run("info", copied) == (1, [], [])


def test_the_sheet_shows_one_image_of_each_shape_at_the_middle_defocus(tiny_design, tiny_store, tmp_path, monkeypatch):
    drawn = []
    draw = "nanoshape_lib.figures.microscopy.contact_sheet"
    monkeypatch.setattr(draw, lambda *args: drawn.append(args) or contact_sheet(*args))
    status, lines, _ = run("info", tiny_store.path, "--sheet", tmp_path / "sheet.png")
    assert status == 0 and lines[-1].endswith("sheet.png")
    ((images, table, text),) = drawn
    assert table["label"].tolist() == [0, 1, 2, 3, 4] and "defocus 10 Å" in text
    octahedron = exit_wave(make_record(tiny_design, "train", 3).scene, tiny_design.microscope, "fast")
    own = focal_series(octahedron, np.array([10.0]), tiny_design.microscope, tiny_design.camera)[0]
    alike = [np.corrcoef(own.ravel(), image.ravel())[0, 1] for image in images]
    assert np.argmax(alike) == 3 and alike[3] > 0.4, alike
    pixels = matplotlib.image.imread(tmp_path / "sheet.png")
    assert (pixels.min(axis=2) < 0.95).mean() > 0.15 and pixels.shape[0] > 300


def test_a_sheet_is_a_png_and_needs_a_wave(tiny_store, copied, tmp_path):
    status, _, errors = run("info", tiny_store.path, "--sheet", tmp_path / "sheet.doc")
    assert status == 1 and "must end in .png" in errors[0]
    shutil.rmtree(copied / "train/seal/c")
    status, _, errors = run("info", copied, "--sheet", tmp_path / "sheet.png")
    assert status == 1 and "holds no training wave yet" in errors[0] and not (tmp_path / "sheet.png").exists()
