"""Data sets of exit waves: the recipe of every record, and how all of them are made, here or on a cluster."""

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import torch
import zarr
from dask.distributed import Client, LocalCluster, as_completed
from distributed import KilledWorker
from distributed.comm import CommClosedError
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from nanoshape_lib.datasets.design import SPLITS, USUAL, DatasetDesign, Split
from nanoshape_lib.datasets.store import COLUMNS, Chunk, Files, Store, prepare, seal
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles import orientation, shapes
from nanoshape_lib.particles.specimen import Specimen
from nanoshape_lib.simulation.devices import check_device
from nanoshape_lib.simulation.exit_waves import exit_wave, wave_pixels
from nanoshape_lib.simulation.film import Scene

# Version of the records, raised when another particle, place or film comes of a design; see `paths.cache_key`.
RECIPE = 1
CONNECT_SECONDS = 5
TRIAL_WAVES = 5
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Dask's own settings return all memory at once, a quarter of the time, and sample stacks a hundred times a second.
PROCESSES = {
    "distributed.worker.daemon": True,
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, 1),
}
# Chunks that wait on a cluster at a time, so that a scheduler never knows of all of them.
WINDOW = 1000


class Record(NamedTuple):
    """One exit wave's recipe; ``rotation`` takes the particle's frame to the laboratory's."""

    label: int
    size_A: float
    atoms: int
    rotation: np.ndarray
    block: int
    scene: Scene


def make_record(design: DatasetDesign, split: Split, index: int, specimen: Specimen = USUAL) -> Record:
    """Recipe number ``index`` of a split, as a specimen of some kind.

    It depends on these, the design's seed, the split and the index alone. Shapes change fastest, then sizes,
    then orientations, so that the first n records of a split are balanced for every n.
    """
    rng = np.random.default_rng(np.random.SeedSequence(design.seed, spawn_key=(SPLITS.index(split), index)))
    label = index % len(shapes.Shape)
    size = design.sizes_A[index // len(shapes.Shape) % len(design.sizes_A)]
    particle = shapes.build(label, size)
    rotation = orientation.random_rotations(1, rng)[0]
    particle.positions = specimen.strained(particle.positions) @ rotation.T
    scene = design.scene(particle, split, rng, specimen)
    assert scene.film is not None
    return Record(label, float(particle.info["size_A"]), len(particle), rotation, scene.film.block, scene)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as every worker process does: another number of them may round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def _write_chunk(path: str, design_json: str, device: str, chunk: Chunk) -> int:
    """Compute and store the records of a chunk, and seal them; returns how many they are."""
    design = DatasetDesign.model_validate_json(design_json)
    split, start, stop = chunk
    group: Any = zarr.open_group(path, mode="r+")[split]
    with _one_thread():
        records = [make_record(design, split, index) for index in range(start, stop)]
        waves = [exit_wave(record.scene, design.microscope, design.fidelity, device) for record in records]
    for name in COLUMNS:
        group[name][start:stop] = np.stack([getattr(record, name) for record in records])
    group["waves"][start:stop] = np.stack([(wave.real, wave.imag) for wave in waves]).astype(np.float16)
    seal(Files(path), chunk)
    return stop - start


def cost(design: DatasetDesign) -> tuple[int, int, int]:
    """Exit waves that a design asks for, the images they make, and the bytes of the waves, which are nearly all."""
    waves = sum(design.records(split) for split in SPLITS)
    return waves, waves * len(design.defoci_A), waves * 4 * wave_pixels(design.microscope) ** 2


def seconds_per_wave(design: DatasetDesign, device: str = "cpu") -> float:
    """Mean time [s] of five waves, spread over shapes and sizes, on one core of this machine.

    Each is computed twice and timed the second time: what is made once per film is then there, as it nearly always is.
    """
    check_device(device)
    times, sizes = [], len(design.sizes_A)
    with _one_thread():
        for trial in range(TRIAL_WAVES):
            index = trial % len(shapes.Shape) + len(shapes.Shape) * round(trial * (sizes - 1) / (TRIAL_WAVES - 1))
            for _ in range(2):
                start = time.perf_counter()
                exit_wave(make_record(design, "train", index).scene, design.microscope, design.fidelity, device)
                seconds = time.perf_counter() - start
            times.append(seconds)
    return float(np.mean(times))


def cost_lines(design: DatasetDesign, path: str, workers: int | None = None, device: str = "cpu") -> list[str]:
    """What a design costs: waves, images, bytes, and the time for what is missing at ``path`` on this machine."""
    waves, images, size = cost(design)
    total = f"{design.counts} x {len(design.defoci_A)} defoci: {images:,} images from {size / 1e6:,.1f} MB of waves"
    try:
        left = sum(stop - start for _, start, stop in Store(path).missing())
    except NanoshapeError:  # there is none yet, or the simulation will say what is wrong with it
        left = waves
    if not left:
        return [total]
    every = os.cpu_count() or 1
    cores = every if workers is None else min(every, max(workers, 1))
    each = seconds_per_wave(design, device)
    seconds = left * each / cores
    duration = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
    trial = f"{left:,} of {waves:,} waves to make, {1e3 * each:.0f} ms each in a trial of {TRIAL_WAVES}"
    return [total, f"{trial}: about {duration} on {cores} core{'s' * (cores > 1)} of this machine"]


def _run(arguments: tuple[str, str, str], todo: list[Chunk], workers: int, client: Client | None) -> Iterator[int]:
    """Write chunks in this process, in others of this machine or on a cluster; yield the waves of each one done."""
    if client is None and workers == 0:
        yield from (_write_chunk(*arguments, chunk) for chunk in todo)
        return
    with ExitStack() as stack:
        if client is None:
            stack.enter_context(dask.config.set(PROCESSES))
            # An error in a worker comes back with its future; Dask need not print it as well.
            options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
            try:
                cluster = stack.enter_context(LocalCluster(n_workers=min(workers, len(todo)), **options))
                client = stack.enter_context(Client(cluster))
            except RuntimeError as error:
                raise NanoshapeError(f"workers is {workers}, but so many processes do not start: {error}") from None
        rest = iter(todo)
        first = [client.submit(_write_chunk, *arguments, chunk, pure=False) for chunk in islice(rest, WINDOW)]
        running = as_completed(first)
        del first  # or every future stays
        for future in running:
            yield future.result()
            for chunk in islice(rest, 1):
                running.add(client.submit(_write_chunk, *arguments, chunk, pure=False))


def _fill(store: Store, device: str, workers: int, client: Client | None, check: bool) -> None:
    """Make the chunks that are missing and, after a check, those that are damaged."""
    every = sum(store.design.records(split) for split in SPLITS)
    todo = store.missing()
    if check and sum(stop - start for _, start, stop in todo) < every:
        todo = list(dict.fromkeys(fault.chunk for fault in store.verify() if fault.chunk))
    if not todo:
        return
    store.clear(todo)
    arguments = (str(store.path), store.design.model_dump_json(), device)
    total = sum(stop - start for _, start, stop in todo)
    with tqdm(total=total, desc="exit waves", unit="wave", smoothing=0.05) as bar:
        for waves in _run(arguments, todo, workers, client):
            bar.update(waves)
    if store.missing():
        raise NanoshapeError(f"path is {store.path}, but must be a place that all workers of the cluster reach")


@contextmanager
def _only_writer(files: Files) -> Iterator[None]:
    """Keep other writers from a folder; the operating system lets go of the lock if this process is killed."""
    if files.folder is None:
        yield
        return
    files.folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{files.folder}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise NanoshapeError(f"{files.path} is being written by another process; wait until that is done") from None
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink()  # while it is held: a waiting process sees that its file is gone
        lock.release()


def generate(
    design: DatasetDesign,
    path: str | Path,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "cpu",
    check: bool = True,
) -> Store:
    """Make a data set, finish one that was interrupted, or repair one that was damaged.

    The bytes of the store depend on the design alone, not on the number of processes nor on interruptions, among
    machines whose libraries choose the same instructions; results of a CUDA device agree to rounding.

    Parameters
    ----------
    design
        What to make.
    path
        Folder of the Zarr store, or a URL that fsspec knows. A cluster needs one that all its workers reach.
    workers
        Number of local processes, by default one per core; 0 computes in this process.
    scheduler
        Address of a running Dask cluster to use instead of local processes.
    device
        Where torch computes: ``cpu``, ``cuda`` or ``cuda:N``.
    check
        Whether to read all that is there already, and to make again the chunks that are damaged.

    Raises
    ------
    NanoshapeError
        If something else is at ``path``, it cannot be written or is being written by another process,
        or the cluster cannot be reached or was lost. What is finished stays, and the same call goes on from there.
    """
    design = DatasetDesign.model_validate(design.model_dump())
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 0:
        raise NanoshapeError(f"workers is {workers}, but must not be negative")
    check_device(device, here=scheduler is None)
    files = Files(path)
    if str(path).startswith("memory://") and (workers or scheduler):
        raise NanoshapeError(f"path is {path}, but other processes cannot reach this one's memory; set workers to 0")
    if not check and (store := Store.finished(files, design)):
        return store
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(scheduler, timeout=CONNECT_SECONDS)) if scheduler else None
        except (OSError, ValueError) as error:
            raise NanoshapeError(f"scheduler is {scheduler}, but no Dask scheduler answers there: {error}") from None
        try:
            stack.enter_context(_only_writer(files))
            prepare(files, design)
            stack.callback(files.remove_partial)
            store = Store(path)
            _fill(store, device, workers, client, check)
        except (CancelledError, CommClosedError):
            raise NanoshapeError("the Dask cluster was lost; what is done is kept, and the same call goes on") from None
        except KilledWorker as error:
            raise NanoshapeError(f"processes were killed over and over, perhaps for want of memory: {error}") from None
        except OSError as error:
            raise NanoshapeError(
                f"{path} cannot be written ({error.strerror or error}); what is done is kept, and the same call goes on"
            ) from error
    return store
