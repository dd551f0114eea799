"""Sets of camera images formed from stored exit waves, ready for a network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from nanoshape_lib.dataset import SPLITS, Split, Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.imaging import form_images, standardise


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

    def take(self, rows: np.ndarray) -> "ImageSet":
        """The images at these positions."""
        return ImageSet(self.images[torch.as_tensor(rows)], self.table.iloc[rows].reset_index(drop=True))


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
    design, table = store.design, store.table(split)
    count = len(table) if waves is None else waves
    if not 0 < count <= len(table):
        raise NanoshapeError(f"waves is {waves}, but must be between 1 and {len(table)}, the {split} waves there are")
    if any(start < count for _, start, _ in store.missing_chunks(split)):
        raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing; simulate it again")
    defoci = torch.tensor(design.defoci_A if defoci_A is None else defoci_A, dtype=torch.float32)
    images, contrasts = [], []
    for index in tqdm(range(count), desc=f"{split} images", unit="wave"):
        seeds = np.random.SeedSequence(design.seed, spawn_key=(len(SPLITS) + SPLITS.index(split), index))
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        angles = 360 * torch.rand(len(defoci), generator=generator) if turned else None
        wave = torch.as_tensor(store.waves(split, index, index + 1)).expand(len(defoci), -1, -1)
        series = form_images(wave, defoci, design.microscope, design.detector, generator, angles)
        contrasts.append(series.std(dim=(1, 2)) / series.mean(dim=(1, 2)))
        images.append(standardise(series).half())
    rows = table.iloc[np.repeat(np.arange(count), len(defoci))].reset_index(drop=True)
    rows["defocus_A"] = defoci.repeat(count).numpy()
    rows["contrast"] = torch.cat(contrasts).numpy()
    return ImageSet(torch.cat(images), rows)


def save_images(images: ImageSet, folder: str | Path) -> None:
    """Keep an image set in a folder, which appears complete or not at all."""
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "images.npy", images.images.numpy())
    images.table.to_csv(partial / "table.csv", index=False, float_format="%.17g")
    partial.replace(folder)


def load_images(folder: str | Path) -> ImageSet:
    """The image set kept by :func:`save_images`."""
    folder = Path(folder)
    table = pd.read_csv(folder / "table.csv", float_precision="round_trip")
    return ImageSet(torch.from_numpy(np.load(folder / "images.npy")), table)
