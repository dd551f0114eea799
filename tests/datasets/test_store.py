"""The store survives: killed writers, full disks, flipped bits; and the same bytes come of it whoever writes them."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr
from dask.distributed import LocalCluster
from fsspec.implementations.memory import MemoryFileSystem

from nanoshape_lib.datasets import generation
from nanoshape_lib.datasets import store as store_module
from nanoshape_lib.datasets.design import SPLITS
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.store import Fault, Files, Store, prepare
from nanoshape_lib.errors import NanoshapeError

LEFTOVER = "waves/c/0/0/0/0.0123456789abcdef0123456789abcdef.partial"


def files_of(folder):
    """Content of every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def assert_same_files(first, second):
    first, second = files_of(first), files_of(second)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def flip(file, bit):
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


# ------------------------------------------------------------------ what is in it


def test_zarr_alone_reads_the_store(tiny_store, tiny_design):
    root = zarr.open_group(tiny_store.path, mode="r")
    waves = root["train/waves"]
    assert waves.shape == (15, 2, 256, 256) and waves.dtype == np.float16
    assert waves.shards == (10, 2, 256, 256) and waves.chunks == (1, 2, 256, 256)
    read = waves[12, 0] + 1j * waves[12, 1].astype(np.float32)
    assert np.array_equal(read, tiny_store.waves("train", 12, 13)[0])
    assert root["train/label"][:].tolist() == [0, 1, 2, 3, 4] * 3
    assert root.attrs["design"] == tiny_design.model_dump(mode="json")


@pytest.mark.parametrize("name", ["label", "size_A", "rotation", "waves"])
def test_metadata_are_what_zarr_writes_itself(tiny_store, name):
    array = zarr.open_array(tiny_store.path, path=f"train/{name}", mode="r")
    crc = zarr.codecs.Crc32cCodec()
    made = zarr.create_array(
        {},
        shape=array.shape,
        chunks=array.chunks,
        shards=array.shards,
        dtype=array.dtype,
        fill_value=array.fill_value,
        compressors=crc,
    )
    assert made.metadata.to_dict() == array.metadata.to_dict()


def test_a_store_with_chunks_missing_says_which_and_reads_the_others(copied):
    for file in copied.glob("train/*/c/1"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    store = Store(copied)
    assert store.missing() == store.missing("train") == [("train", 10, 15)]
    assert store.verify() == [Fault("train/seal/c/1/0", "missing", ("train", 10, 15))]
    assert store.waves("train", 5, 10).shape == (5, 256, 256)
    with pytest.raises(NanoshapeError, match="not finished: of its train waves 9 to 11 some are missing"):
        store.waves("train", 9, 11)
    table = store.table("train")
    assert table["label"].tolist() == [0, 1, 2, 3, 4] * 2 + [-1] * 5 and table["shape"].isna().sum() == 5


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(NanoshapeError, match="but no data set is there"):
        Store(tmp_path / "nothing")


# ------------------------------------------------------------------ wherever it is made


def test_threads_of_a_running_cluster_make_the_same_bytes(tiny_design, tiny_store, tmp_path):
    with LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        generate(tiny_design, tmp_path / "waves.zarr", scheduler=cluster.scheduler_address)
    assert_same_files(tmp_path / "waves.zarr", tiny_store.path)


def test_a_url_gets_the_same_bytes_and_is_opened_again(tiny_design, tiny_store):
    made = generate(tiny_design, "memory://bucket/waves.zarr", workers=0)
    prefix = "/bucket/waves.zarr/"
    stored = {name.removeprefix(prefix): file.getvalue() for name, file in MemoryFileSystem.store.items()}
    assert stored == files_of(tiny_store.path)
    assert Store("memory://bucket/waves.zarr").verify() == made.missing() == []
    assert np.array_equal(made.waves("test", 0, 5), tiny_store.waves("test", 0, 5))
    with pytest.raises(NanoshapeError, match="set workers to 0"):
        generate(tiny_design, "memory://bucket/waves.zarr", workers=1)


def test_a_file_url_is_a_folder(tiny_store):
    assert Store(f"file://{tiny_store.path}").path == tiny_store.path


def test_a_url_of_no_known_kind_is_refused(tiny_design):
    with pytest.raises(NanoshapeError, match="store is carrier-pigeon://x, but that URL cannot be used"):
        generate(tiny_design, "carrier-pigeon://x", workers=0)


def test_as_many_processes_start_as_are_asked_for(tiny_design, tmp_path, monkeypatch):
    started = []
    real = generation.LocalCluster

    def cluster(**options):
        made = real(**options)
        started.append(len(made.workers))
        return made

    monkeypatch.setattr(generation, "LocalCluster", cluster)
    for workers in (1, 3):
        generate(tiny_design, tmp_path / f"{workers}.zarr", workers=workers)
    assert started == [1, 3]


def test_a_negative_number_of_workers_is_refused(tiny_design, tmp_path):
    with pytest.raises(NanoshapeError, match="workers is -1, but must not be negative"):
        generate(tiny_design, tmp_path / "waves.zarr", workers=-1)


def test_a_scheduler_that_does_not_answer_is_named_soon(tiny_design, tmp_path):
    start = time.monotonic()
    with pytest.raises(NanoshapeError, match=r"scheduler is tcp://127\.0\.0\.1:9, but no Dask scheduler answers"):
        generate(tiny_design, tmp_path / "waves.zarr", scheduler="tcp://127.0.0.1:9")
    assert time.monotonic() - start < 10 and list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ interrupted


@pytest.mark.parametrize("check", [True, False])
def test_a_finished_data_set_is_opened_and_not_computed(tiny_design, tiny_store, simulated, check):
    before = files_of(tiny_store.path)
    assert generate(tiny_design, tiny_store.path, workers=0, check=check).design == tiny_design
    assert simulated == [] and files_of(tiny_store.path) == before


@pytest.mark.parametrize("writes", [0, 1, 12, 24, 25, 30])
def test_an_interruption_after_any_file_leaves_what_the_next_run_finishes(
    tiny_design, tiny_store, tmp_path, monkeypatch, simulated, writes
):
    """Stop at the n-th file that is written other than through Zarr: metadata, then seals."""
    path, done = tmp_path / "waves.zarr", []

    def write(self, name, content, original=Files.write):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(name)
        original(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(Files, "write", write)
        if writes < 25 + 4:
            with pytest.raises(KeyboardInterrupt):
                generate(tiny_design, path, workers=0)
        else:
            generate(tiny_design, path, workers=0)
    simulated.clear()
    if (path / "train").exists():
        (path / "train" / LEFTOVER).parent.mkdir(parents=True, exist_ok=True)
        (path / "train" / LEFTOVER).write_bytes(b"half a shard")
    generate(tiny_design, path, workers=0)
    assert_same_files(path, tiny_store.path)
    sealed = sum("/c/" in name for name in done)
    assert len(simulated) == 25 - [0, 10, 15, 20, 25][sealed]


def test_nothing_but_the_store_is_left_behind(tiny_design, tmp_path):
    generate(tiny_design, tmp_path / "waves.zarr", workers=0)
    assert [file.name for file in tmp_path.iterdir()] == ["waves.zarr"]


@contextmanager
def cluster_processes():
    """Address of a scheduler and a worker in processes of their own; the scheduler's process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"], **options
    )
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
    preload = ["--preload", "nanoshape_lib.datasets.generation", "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*dask, "worker", address, *preload], **options | {"stderr": subprocess.DEVNULL})
    try:
        yield address, scheduler
    finally:
        for child in psutil.Process(worker.pid).children(recursive=True):
            child.kill()
        for process in (worker, scheduler):
            process.kill()
            process.communicate()


def workers_of(run):
    """The worker processes of a run that are alive."""
    found = []
    for child in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_a_store_killed_at_ten_moments_is_byte_for_byte_that_of_an_undisturbed_run(tiny_design, tmp_path):
    """SIGKILL to whole runs on two local processes, to schedulers, and to workers; undisturbed is one thread alone."""
    design = tiny_design.model_copy(update={"train": tiny_design.train.model_copy(update={"orientations": 45})})
    generate(design, tmp_path / "undisturbed.zarr", workers=0)
    (tmp_path / "design.yml").write_text(json.dumps(design.model_dump(mode="json")))
    path, rng = tmp_path / "waves.zarr", np.random.default_rng()
    program = [sys.executable, "-m", "nanoshape_lib.cli", "simulate", "design.yml", "waves.zarr", "--workers", "2"]

    def seals():
        return len(list(path.glob("*/seal/c/*/0")))

    def start(*options):
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*program, *options], cwd=tmp_path, start_new_session=True, **pipe)

    def wait(run, condition):
        while run.poll() is None and not condition():
            time.sleep(0.005)
        assert run.poll() is None, run.communicate()[0]

    def progress():
        before = seals()
        return lambda: seals() > before

    killed = []
    for begun in (path.exists, progress()):
        run = start()
        wait(run, begun)
        time.sleep(rng.uniform(0, 0.02 if begun == path.exists else 0.4))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        killed.append(seals())
    for _ in range(2):
        with cluster_processes() as (address, scheduler):
            run = start("--scheduler", address)
            wait(run, progress())
            time.sleep(rng.uniform(0, 0.4))
            scheduler.kill()
            output, _ = run.communicate(timeout=60)
            assert run.returncode == 1 and output.splitlines()[-1].startswith("Error: the Dask cluster was lost")
            killed.append(seals())
    run = start()
    wait(run, progress())
    for _ in range(6):
        time.sleep(rng.uniform(0, 0.4))
        while not (workers := workers_of(run)):
            assert run.poll() is None, run.communicate()[0]
        workers[rng.integers(len(workers))].kill()
        killed.append(seals())
    assert len(killed) == 10 and 0 == killed[0] < killed[1] < killed[-1] < 25, f"seals at the kills: {killed}"
    if run.wait() != 0:  # the same chunk lost its worker too often: the same command again
        run.communicate()
        run = start()
    assert run.wait() == 0, run.communicate()[0]
    run.communicate()
    assert_same_files(path, tmp_path / "undisturbed.zarr")


# ------------------------------------------------------------------ damaged


def test_every_flipped_bit_is_found_and_only_its_chunk_made_again(tiny_design, tiny_store, copied, simulated):
    rng = np.random.default_rng(1)
    every = sorted(files_of(copied))
    small = [name for name in every if "waves/c" not in name]
    names = [*rng.choice(every, 20, replace=False), *rng.choice(small, 10, replace=False)]
    for name in names:
        flip(copied / name, int(rng.integers(8 * (copied / name).stat().st_size)))
        if name == "zarr.json":
            with pytest.raises(NanoshapeError, match=r"zarr\.json is missing or damaged"):
                Store(copied)
            chunk = None
        else:
            (fault,) = Store(copied).verify()
            assert (fault.file, fault.problem) == (name, "damaged")
            chunk = fault.chunk
        simulated.clear()
        generate(tiny_design, copied, workers=0)
        assert len(simulated) == (0 if chunk is None else chunk[2] - chunk[1]), name
        assert_same_files(copied, tiny_store.path)


@pytest.mark.parametrize("name", ["waves/c/1/0/0/0", "label/c/1", "rotation/c/0/0/0", "seal/c/1/0", "zarr.json"])
@pytest.mark.parametrize("length", [0, 3, -1, None])
def test_a_truncated_or_lost_file_is_found_and_made_again(tiny_design, tiny_store, copied, name, length):
    file = copied / "train" / name
    file.write_bytes(file.read_bytes()[:length]) if length is not None else file.unlink()
    (fault,) = Store(copied).verify()
    assert fault[:2] == (f"train/{name}", "missing" if length is None else "damaged")
    generate(tiny_design, copied, workers=0)
    assert_same_files(copied, tiny_store.path)


def test_damaged_waves_are_not_read(copied):
    flip(copied / "train/waves/c/0/0/0/0", 8 * 300_000)
    store = Store(copied)
    assert store.waves("train", 0, 1).shape == (1, 256, 256)
    with pytest.raises(NanoshapeError, match="train/waves is damaged; simulate the same design again to repair it"):
        store.waves("train", 0, 10)


def test_no_array_is_read_through_damaged_metadata(copied):
    file = copied / "train/label/zarr.json"
    file.write_text(file.read_text().replace("15", "14"))
    with pytest.raises(NanoshapeError, match=r"train/label/zarr\.json is damaged"):
        Store(copied).table("train")


def test_a_root_without_its_metadata_is_restored_by_its_own_design_alone(tiny_design, tiny_store, copied, simulated):
    (copied / "zarr.json").unlink()
    spoilt = files_of(copied)
    with pytest.raises(
        NanoshapeError, match=r"zarr\.json is missing or damaged; simulate the same design to restore it"
    ):
        Store(copied)
    with pytest.raises(NanoshapeError, match="made by another design"):
        generate(tiny_design.model_copy(update={"seed": 8}), copied, workers=0)
    assert files_of(copied) == spoilt
    generate(tiny_design, copied, workers=0)
    assert simulated == []
    assert_same_files(copied, tiny_store.path)


# ------------------------------------------------------------------ refused


def test_a_store_of_another_design_is_left_alone(tiny_design, copied, simulated):
    before = files_of(copied)
    for check in (True, False):
        with pytest.raises(NanoshapeError, match="the store there was made by another design; name another path"):
            generate(tiny_design.model_copy(update={"beam": "particle first"}), copied, workers=0, check=check)
    assert simulated == [] and files_of(copied) == before


@pytest.mark.parametrize("hashes", [True, False], ids=["a newer one", "the first one"])
def test_a_store_of_another_schema_is_left_alone(tiny_design, tmp_path, monkeypatch, hashes):
    path = tmp_path / "waves.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "SCHEMA_VERSION", 9)
        prepare(Files(path), tiny_design)
    if not hashes:  # as the first schema had it
        for split in SPLITS:
            zarr.create_group(path, path=split, overwrite=True)
    before = files_of(path)
    for use in (Store, lambda path: generate(tiny_design, path, workers=0)):
        with pytest.raises(NanoshapeError, match="has schema version 9, but this library reads 3"):
            use(path)
    assert files_of(path) == before


def test_a_folder_with_other_files_is_left_alone(tiny_design, tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years of work")
    with pytest.raises(NanoshapeError, match="files of another kind are there; name another path"):
        generate(tiny_design, tmp_path, workers=0)
    with pytest.raises(NanoshapeError, match="files of another kind are there; name another path"):
        generate(tiny_design, tmp_path / "thesis.tex", workers=0)
    assert files_of(tmp_path) == {"thesis.tex": b"ten years of work"}


def test_a_second_writer_is_refused_until_the_first_is_gone(tiny_design, tiny_store, tmp_path):
    path = tmp_path / "waves.zarr"
    hold = (
        f"import filelock, time; lock = filelock.FileLock({str(path)!r} + '.lock'); lock.acquire(); print(flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", f"{hold}; time.sleep(60)"], stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        try:
            with pytest.raises(NanoshapeError, match=r"waves\.zarr is being written by another process; wait until"):
                generate(tiny_design, path, workers=0)
            assert not path.exists()
        finally:
            first.kill()
    generate(tiny_design, path, workers=0)
    assert_same_files(path, tiny_store.path)


# ------------------------------------------------------------------ disks


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many megabytes at a folder, or gives it that size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(options):
        remount = "remount," if os.path.ismount(folder) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{remount}{options}", "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk is not permitted here")
        return folder

    yield resize
    subprocess.run(["umount", folder], check=False, capture_output=True)


def test_a_full_disk_is_named_and_what_was_made_stays(tiny_design, tiny_store, small_disk, simulated):
    path = small_disk("size=4m") / "waves.zarr"
    full = pytest.raises(NanoshapeError, match=r"cannot be written \(No space left on device\); what is done is kept")
    with LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster, full:
        generate(tiny_design, path, scheduler=cluster.scheduler_address)
    assert not [name for name in files_of(path) if ".partial" in name]
    left = Store(path).missing()
    assert 0 < len(left) < 4
    simulated.clear()
    small_disk("size=40m")
    generate(tiny_design, path, workers=0)
    assert len(simulated) == sum(stop - start for _, start, stop in left)
    assert_same_files(path, tiny_store.path)


def test_a_limit_on_files_is_named_and_what_was_made_stays(tiny_design, tiny_store, tmp_path):
    """The chunk of ten waves is too large, those of five are not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(NanoshapeError, match=r"cannot be written \(File too large\); what is done is kept"):
            generate(tiny_design, tmp_path / "waves.zarr", workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    generate(tiny_design, tmp_path / "waves.zarr", workers=0)
    assert_same_files(tmp_path / "waves.zarr", tiny_store.path)


def test_on_a_read_only_disk_a_finished_store_is_opened_and_no_other_begun(tiny_design, tiny_store, small_disk):
    folder = small_disk("size=40m")
    shutil.copytree(tiny_store.path, folder / "waves.zarr")
    small_disk("ro")
    assert generate(tiny_design, folder / "waves.zarr", check=False).verify() == []
    with pytest.raises(NanoshapeError, match=r"cannot be written \(Read-only file system\)"):
        generate(tiny_design, folder / "other.zarr", workers=0)


def test_a_worker_that_reaches_another_place_is_noticed(tiny_design, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_write_chunk", lambda *arguments: 0)
    with pytest.raises(NanoshapeError, match="must be a place that all workers of the cluster reach"):
        generate(tiny_design, tmp_path / "waves.zarr", workers=0)
