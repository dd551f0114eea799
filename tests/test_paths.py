"""Keys of what is kept, and files and folders that appear whole or not at all."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pydantic import BaseModel

from nanoshape_lib.paths import GENERATED, cache_folder, cache_key, replacing

# ------------------------------------------------------------------ where


def test_the_cache_is_in_the_checkout_or_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.delenv("NANOSHAPE_CACHE", raising=False)
    assert cache_folder() == GENERATED
    monkeypatch.setenv("NANOSHAPE_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"


def test_the_cache_of_an_installed_package_is_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("NANOSHAPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("nanoshape_lib.paths.IN_CHECKOUT", False)
    assert tmp_path not in GENERATED.parents and "nanoshape_lib" in cache_folder().parts
    assert sys.platform != "linux" or tmp_path in cache_folder().parents


# ------------------------------------------------------------------ keys


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Pair(NamedTuple):
    first: int
    second: float


class Model(BaseModel):
    width: float = 2.0
    pair: Pair = Pair(1, 0.5)
    colour: Colour = Colour.RED


def test_a_key_is_the_hash_of_canonical_json():
    text = '{"design":{"a":[1,2.5,null,true,"\\u00c5"],"b":{"x":1}},"recipe":3,"step":"waves"}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert cache_key("waves", 3, b={"x": 1}, a=[1, 2.5, None, True, "Å"]) == expected
    assert json.loads(text)["design"]["a"][4] == "Å"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
        ((1, 2), [1, 2]),
        (1, 1.0),
        (-0.0, 0),
        (np.int64(3), 3),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (Pair(1, 2.5), {"first": 1, "second": 2.5}),
        (Model(), {"width": 2, "pair": [1, 0.5], "colour": "red"}),
        ([Model(), Model(width=3)], [Model().model_dump(mode="json"), Model(width=3).model_dump(mode="json")]),
    ],
)
def test_the_same_design_has_the_same_key_however_it_is_written(first, second):
    assert cache_key("step", 1, value=first) == cache_key("step", 1, value=second)


def test_every_part_is_in_the_key():
    keys = [
        cache_key("waves", 1, seed=0),
        cache_key("images", 1, seed=0),
        cache_key("waves", 2, seed=0),
        cache_key("waves", {"waves": 1}, seed=0),
        cache_key("waves", {"waves": 1, "images": 1}, seed=0),
        cache_key("waves", 1, seed=1),
        cache_key("waves", 1, seed="0"),
        cache_key("waves", 1, seed=False),
        cache_key("waves", 1, seed=[0]),
        cache_key("waves", 1, root=0),
    ]
    assert len(set(keys)) == len(keys) and all(len(key) == 12 and int(key, 16) >= 0 for key in keys)


@pytest.mark.parametrize(
    "value",
    [
        Path("x"),
        b"x",
        {1, 2},
        {1: 2},
        np.zeros(2),
        object(),
        Model,
        Pair,
        len,
        float("nan"),
        np.inf,
        1j,
        Model(width=np.nan),
    ],
)
def test_what_is_no_json_is_refused(value):
    with pytest.raises(TypeError, match="a key is made of JSON, but"):
        cache_key("step", 1, value=[value])


def test_a_key_holds_no_address_and_no_order_of_a_process():
    code = "from nanoshape_lib.paths import cache_key; print(cache_key('waves', {'b': 1, 'a': 2}, x={'d': 1, 'c': 2}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_exact_fractions_are_numbers():
    assert cache_key("step", 1, value=Fraction(1, 2)) == cache_key("step", 1, value=0.5)


# ------------------------------------------------------------------ whole or not at all


def test_a_file_appears_whole_and_replaces_another(tmp_path):
    target = tmp_path / "new" / "weights.npz"
    for content in (b"first", b"second"):
        with replacing(target) as partial:
            assert partial.parent == target.parent and partial.suffix == ".npz" and partial != target
            partial.write_bytes(content)
            assert not target.exists() if content == b"first" else target.read_bytes() == b"first"
        assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_appears_whole(tmp_path):
    with replacing(tmp_path / "images") as partial:
        (partial / "deep").mkdir(parents=True)
        (partial / "deep" / "a.npy").write_bytes(b"x")
        assert not (tmp_path / "images").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert (tmp_path / "images" / "deep" / "a.npy").read_bytes() == b"x"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [True, False])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, folder, error):
    target = tmp_path / "kept"
    target.write_text("old")
    with pytest.raises(error), replacing(target) as partial:
        if folder:
            partial.mkdir()
            (partial / "half").write_text("ha")
        else:
            partial.write_text("ha")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["kept"] and target.read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "nothing"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_an_error(tmp_path):
    (tmp_path / "kept").write_text("old")
    with pytest.raises(NotADirectoryError), replacing(tmp_path / "kept") as partial:
        partial.mkdir()
    assert (tmp_path / "kept").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_there_already_stays(tmp_path):
    target = tmp_path / "templates"
    with replacing(target) as slow:
        slow.mkdir()
        (slow / "by").write_text("slow")
        with replacing(target) as fast:
            fast.mkdir()
            (fast / "by").write_text("fast")
    assert (target / "by").read_text() == "fast" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", [True, False])
def test_of_writers_that_race_one_is_seen_whole_at_any_time(tmp_path, folder):
    target, seen, done = tmp_path / "raced", [], threading.Event()

    def write(number):
        for _ in range(20):
            with replacing(target) as partial:
                if folder:
                    partial.mkdir()
                for part in ("a", "b") if folder else ("",):
                    (partial / part if folder else partial).write_text(str(number) * 1000)

    def read():
        while not done.is_set():
            files = [target / "a", target / "b"] if folder else [target]
            if target.exists():
                seen.append("".join(file.read_text() for file in files))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen and all(len(set(text)) == 1 and len(text) == (2000 if folder else 1000) for text in seen)
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_no_target_and_what_it_left_is_removed_after_a_day(tmp_path):
    code = (
        "import os, signal, sys; from nanoshape_lib.paths import replacing\n"
        "with replacing(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "[1] waves.npz"
    assert subprocess.run([sys.executable, "-c", code, str(target)]).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name != target.name and left.read_text() == "half"
    (tmp_path / "own.partial.npz").write_text("of the user")
    for days, names in ((0.5, {left.name, "own.partial.npz", target.name}), (1.5, {"own.partial.npz", target.name})):
        os.utime(left, (time.time() - days * 86400,) * 2)
        with replacing(target) as partial:
            partial.write_text("whole")
        assert {path.name for path in tmp_path.iterdir()} == names
