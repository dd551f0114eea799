"""The runner of studies: killed at any moment, the same call again gives the tables of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from nanoshape_lib.cli import app
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.studies import micrographs, results, robustness, runner
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import RESULTS, load_results

TRAININGS = """
import os, signal, sys
from pathlib import Path
from nanoshape_lib.datasets.design import SplitDesign
from nanoshape_lib.networks import training
from nanoshape_lib.studies import micrographs, results, robustness, runner
from nanoshape_lib.studies.profiles import load_profile

folder, last = Path(sys.argv[1]), int(sys.argv[2])
smoke = load_profile("smoke")
small = {"sizes_A": (40,), "train": SplitDesign(orientations=1, blocks=(0,)), "defoci_A": (-70.0, 90.0)}
architectures = {"architectures": ("cnn4",), "train_images": (10,), "epochs": 2}
profile = smoke.model_copy(
    update={
        "dataset": smoke.dataset.model_copy(update=small),
        "architectures": smoke.architectures.model_copy(update=architectures),
    }
)
saved, train_epoch = [], training._Run.train_epoch

def killed(run):
    if len(saved) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    saved.append(run.epoch)
    train_epoch(run)

training._Run.train_epoch = killed
job = runner.Job(profile, folder, folder)
assert runner.run(runner.study("architectures", job), job) == []
"""


def ended(folder, stage="none", moment=0):
    """Exit status of a process that runs a study of three parts and kills itself at a moment of one of its stages.

    Each part has rows of a table, a column of another, and a table of its own.
    """
    steps = []

    def step(name):
        if name == stage:
            steps.append(name)
            if len(steps) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    def part(name, number):
        def make():
            step("part")
            rows = pd.DataFrame({"name": [name] * 2, "value": [number / 3, None]})
            column = pd.DataFrame({"group": [0, 1], name: [number, number + 1]})
            return runner.Made({"rows": rows, "wide": column, f"own_{name}": pd.DataFrame({"value": [number]})}, 36.0)

        return runner.Part(name, {"name": name}, ("rows", "wide", f"own_{name}"), make)

    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        real = results.replacing
        results.replacing = lambda path: step("file") or real(path)
        parts = [part(name, number) for number, name in enumerate("abc")]
        study = runner.Study(parts, lambda profile: profile.dataset, wide="wide")
        missing = runner.run(study, runner.Job(load_profile("smoke"), folder, folder))
    finally:
        os._exit(len(missing))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert ended(folder) == 0
    return folder


def test_tables_hold_every_part_in_order_and_say_where_they_come_from(undisturbed):
    rows, origin = load_results("rows", undisturbed)
    assert list(rows["name"]) == list("aabbcc") and rows["value"].tolist()[::2] == pytest.approx(
        [0, 1 / 3, 2 / 3], abs=1e-6
    )
    assert rows["value"].isna().sum() == 3
    wide, _ = load_results("wide", undisturbed)
    assert_frame_equal(wide, pd.DataFrame({"group": [0, 1], "a": [0, 1], "b": [1, 2], "c": [2, 3]}))
    assert origin["parts"] == {"expected": 3, "finished": 3} and origin["hours"] == pytest.approx(0.03)
    assert load_results("own_b", undisturbed)[1]["hours"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("stage", "moment"),
    [*(("part", moment) for moment in range(1, 4)), *(("file", moment) for moment in range(1, 27))],
)
def test_a_study_killed_between_and_inside_its_parts_ends_with_the_tables_of_an_undisturbed_run(
    undisturbed, tmp_path, stage, moment
):
    assert ended(tmp_path, stage, moment) == -signal.SIGKILL
    if any(tmp_path.glob("*.csv")):
        rows, wide = (load_results(name, tmp_path)[0] for name in ("rows", "wide"))
        assert list(rows["name"].unique()) == list(wide.columns[1:]), "tables agree after the kill"
    assert ended(tmp_path) == 0
    assert contents(tmp_path) == contents(undisturbed)


def started(folder, last):
    """Exit status of a process that trains, and kills itself before so many epochs and one more."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "NANOSHAPE_CACHE": f"{folder}-cache"}
    return subprocess.run([sys.executable, "-c", TRAININGS, folder, str(last)], env=environment, timeout=300).returncode


@pytest.mark.slow
def test_trainings_killed_in_their_epochs_lose_one_epoch_at_most(tmp_path):
    folders = whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert started(whole, -1) == 0
    for _ in range(3):
        assert started(killed, 1) == -signal.SIGKILL, "one epoch, then the kill"
    assert started(killed, 1) == 0, "each of the four epochs was trained once"
    for name in ("architectures", "architectures_particles", "architectures_confusions"):
        tables = [load_results(name, folder)[0].drop(columns="seconds", errors="ignore") for folder in folders]
        assert_frame_equal(*tables)


SHIPPED = {
    "architectures": 36,
    "sampling": 0,
    "controls": 0,
    "best": 1,
    "domain_randomisation": 0,
    "ablations": 0,
    "micrographs": 0,
    "ood": 0,
    "specimens": 0,
}


@pytest.fixture
def shipped(tmp_path):
    return runner.Job(load_profile("paper"), shutil.copytree(RESULTS, tmp_path / "results"), tmp_path, -1.0)


@pytest.mark.parametrize(("name", "missing"), SHIPPED.items())
def test_the_shipped_tables_are_continued_and_nothing_that_they_hold_is_made_again(shipped, name, missing, monkeypatch):
    before = contents(shipped.folder)
    if name in ("micrographs", "specimens"):
        # The calibration may be newer than the table.
        origin = {"trust_sha256": load_results(name)[1]["trust_sha256"]}
        for module in (robustness, micrographs):
            monkeypatch.setattr(
                module, "classifiers", lambda job: (dict.fromkeys(("cnn6", "cnn6_ranges")), dict(origin))
            )
    asked = runner.study(name, shipped)
    assert len(runner.run(asked, shipped)) == missing
    assert contents(shipped.folder) == before
    tables, _ = runner._read(asked, shipped)
    held = {part.name: each for part in asked.parts if (each := runner._held(asked, part, tables)) is not None}
    for table in tables:
        text = runner._joined(table, asked, held).to_csv(index=False).splitlines()
        lines = before[f"{table}.csv"].decode().splitlines()
        if table == asked.wide:
            text, lines = (sorted(zip(*(line.split(",") for line in each), strict=True)) for each in (text, lines))
        assert sorted(text) == sorted(lines), "every row of the table is one of a part, and as it was"


def test_tables_of_another_design_are_not_touched(shipped):
    before = contents(shipped.folder)
    longer = shipped.profile.architectures.model_copy(update={"epochs": 7})
    for other in (shipped.profile.with_seed(1), shipped.profile.model_copy(update={"architectures": longer})):
        job = runner.Job(other, shipped.folder, shipped.weights)
        with pytest.raises(NanoshapeError, match=r"architectures.csv is of another design; name another folder"):
            runner.run(runner.study("architectures", job), job)
    assert contents(shipped.folder) == before


def test_the_command_says_what_is_done_and_missing_and_keeps_its_time(shipped):
    words = ["study", "best", "--output", str(shipped.folder), "--max-hours", "1e-9"]
    start = time.monotonic()
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0 and time.monotonic() - start < 60
    assert "holds the tables of best: 1 of 2 parts are done, 1 are missing, resnet34 is the next." in said.stdout
    unknown = CliRunner().invoke(app, ["study", "list"])
    assert unknown.exit_code == 1 and "name is 'list', but must be one of architectures, sampling" in unknown.stderr
