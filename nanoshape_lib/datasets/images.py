"""Sets of camera images formed from stored exit waves, ready for a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nanoshape_lib.datasets.design import SPLITS, Split
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import DATA, replacing
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.simulation.imaging import form_images, standardise

# Version of the image sets, raised when other settings, turns or noise are drawn; see `paths.cache_key`.
RECIPE = 1
# Defoci [Å] of the images of one wave, and their in-plane angles [degrees] or None.
Imaging = tuple[torch.Tensor, torch.Tensor | None]


@dataclass(frozen=True)
class ImageSet:
    """Images and what is known of each.

    Attributes
    ----------
    images
        Standardised images (N, pixels, pixels), float16 to halve the memory.
    table
        One row an image: the columns of :meth:`Store.table`, ``defocus_A`` and ``contrast``, the relative
        standard deviation of the image before it was standardised.
    """

    images: torch.Tensor
    table: pd.DataFrame

    @property
    def labels(self) -> torch.Tensor:
        """Labels (N,), int64."""
        return torch.as_tensor(self.table["label"].to_numpy(np.int64, copy=True))

    def __len__(self) -> int:
        return len(self.table)

    def at_epoch(self, epoch: int) -> "ImageSet":
        """The images of an epoch: these, in every one."""
        return self

    def take(self, rows: np.ndarray) -> "ImageSet":
        """The images at these positions."""
        return ImageSet(self.images[torch.tensor(rows)], self.table.iloc[rows].reset_index(drop=True))


def make_images(
    store: Store,
    split: Split,
    waves: int | None = None,
    defoci_A: tuple[float, ...] | None = None,
    turned: bool = False,
) -> ImageSet:
    """Form the focal series of the first waves of a split.

    Noise, and the in-plane turns if any, depend on the design's seed, the split and the wave's number
    alone, so that image i of a wave is the same however many waves are asked for.

    Parameters
    ----------
    store
        The exit waves.
    split
        ``train``, ``validation`` or ``test``.
    waves
        How many; by default all.
    defoci_A
        Defoci [Å], positive underfocus; by default the design's.
    turned
        Whether each image gets an in-plane angle of its own: for training only.

    Returns
    -------
    ImageSet
        ``waves x defoci`` images, the defocus changing fastest.

    Raises
    ------
    NanoshapeError
        If more waves are asked for than there are, or some are not made yet.
    """
    series = torch.tensor(store.design.defoci_A if defoci_A is None else defoci_A, dtype=torch.float32)

    def draw(generator: torch.Generator) -> Imaging:
        return series, 360 * torch.rand(len(series), generator=generator) if turned else None

    return _form(store, split, waves, draw, (SPLITS.index(split),))


def make_pass(store: Store, number: int, images_per_wave: int, waves: int | None = None) -> ImageSet:
    """Training images drawn afresh for one pass over them.

    Each wave gives some images. Their defoci are drawn from the design's without repetition, and then
    moved by up to half the distance to the next; every image has an in-plane angle and noise of its own.

    Parameters
    ----------
    store
        The exit waves.
    number
        Number of the pass; all draws depend on the design's seed, this number and the wave's alone.
    images_per_wave
        How many images each wave gives, at most the number of the design's defoci.
    waves
        How many of the training waves; by default all.

    Returns
    -------
    ImageSet
        ``waves x images_per_wave`` images.

    Raises
    ------
    NanoshapeError
        If more images or waves are asked for than there are.
    """
    series = torch.tensor(sorted(store.design.defoci_A), dtype=torch.float32)
    if not 0 < images_per_wave <= len(series):
        raise NanoshapeError(f"images_per_wave is {images_per_wave}, but must be between 1 and {len(series)}")
    reach = float(series.diff().min()) / 2 if len(series) > 1 else 0.0

    def draw(generator: torch.Generator) -> Imaging:
        chosen = series[torch.randperm(len(series), generator=generator)[:images_per_wave]]
        moved = chosen + reach * (2 * torch.rand(images_per_wave, generator=generator) - 1)
        return moved, 360 * torch.rand(images_per_wave, generator=generator)

    return _form(store, "train", waves, draw, (len(SPLITS), number))


def _form(
    store: Store, split: Split, waves: int | None, draw: Callable[[torch.Generator], Imaging], key: tuple[int, ...]
) -> ImageSet:
    """Images of the first waves of a split, each wave at the defoci and angles that ``draw`` gives."""
    design, table = store.design, store.table(split)
    count = len(table) if waves is None else waves
    if not 0 < count <= len(table):
        raise NanoshapeError(f"waves is {waves}, but must be between 1 and {len(table)}, the {split} waves there are")
    if any(start < count for _, start, _ in store.missing(split)):
        raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing; simulate it again")

    def one(index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seeds = np.random.SeedSequence(design.seed, spawn_key=(len(SPLITS), *key, index))
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        defoci, angles = draw(generator)
        wave = torch.as_tensor(store.waves(split, index, index + 1)).expand(len(defoci), -1, -1)
        images = form_images(wave, defoci, design.microscope, design.camera, generator, angles)
        return standardise(images).half(), defoci, images.std(dim=(1, 2)) / images.mean(dim=(1, 2))

    formed = on_all_cores(one, range(count), f"{split} images")
    images, defoci, contrasts = (torch.cat(parts) for parts in zip(*formed, strict=True))
    rows = table.iloc[np.repeat(np.arange(count), len(images) // count)].reset_index(drop=True)
    rows["defocus_A"] = defoci.numpy()
    rows["contrast"] = contrasts.numpy()
    return ImageSet(images, rows)


def save_images(images: ImageSet, folder: str | Path) -> None:
    """Keep an image set in a folder, which appears complete or not at all."""
    with replacing(folder) as partial:
        partial.mkdir()
        np.save(partial / "images.npy", images.images.numpy())
        images.table.to_csv(partial / "table.csv", index=False, float_format="%.17g")


def load_images(folder: str | Path) -> ImageSet:
    """The image set kept by :func:`save_images`; its images stay on disk until they are used."""
    folder = Path(folder)
    table = pd.read_csv(folder / "table.csv", float_precision="round_trip")
    return ImageSet(torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c")), table)


def kept_images(folder: str | Path, make: Callable[[], ImageSet]) -> ImageSet:
    """The image set in a folder, made at the first call."""
    if not Path(folder).exists():
        save_images(make(), folder)
    return load_images(folder)


def load_examples(name: str, folder: Path = DATA / "results") -> ImageSet:
    """The image set that is shipped as ``NAME.npy`` and ``NAME.csv``."""
    return ImageSet(torch.from_numpy(np.load(folder / f"{name}.npy")), pd.read_csv(folder / f"{name}.csv"))


@dataclass(frozen=True)
class FreshImages:
    """Training images that are others in every epoch, up to a number of passes kept on disk.

    Attributes
    ----------
    folder
        Where the passes are kept.
    passes
        How many; epoch e sees pass ``e % passes``.
    make
        Makes the images of a pass by its number, when they are first needed.
    """

    folder: Path
    passes: int
    make: Callable[[int], ImageSet]

    def at_epoch(self, epoch: int) -> ImageSet:
        """The images of an epoch, counted from zero."""
        number = epoch % self.passes
        return kept_images(self.folder / f"pass-{number:02d}", lambda: self.make(number))
