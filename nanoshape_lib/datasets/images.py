"""Camera images formed from exit waves, and sets of them that are ready for a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from nanoshape_lib.datasets.design import SPLITS, DatasetDesign, Split
from nanoshape_lib.datasets.store import Store
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.particles.specimen import FIELD_A
from nanoshape_lib.paths import DATA, replacing
from nanoshape_lib.simulation.devices import on_all_cores
from nanoshape_lib.simulation.imaging import form_images, standardise
from nanoshape_lib.simulation.optics import Camera, Ranges, Setting

# Version of the image sets, raised when other settings, turns or noise are drawn; see `paths.cache_key`.
RECIPE = 1

Draw = Callable[[int, np.random.Generator], list[Setting]]
"""Takes a number of images and random numbers, gives the setting of each image of one focal series."""


@dataclass(frozen=True)
class ImageSet:
    """Standardised images (N, pixels, pixels), float16 to halve the memory, and a table with a row for each.

    The table has the columns of :meth:`Store.table`, the defocus or the fields of a
    :class:`~nanoshape_lib.simulation.optics.Setting`, and ``contrast``, the relative standard deviation of the image
    before it was standardised.
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


class Series(NamedTuple):
    """The images that are wanted of one wave.

    ``at`` are their defoci [Å] or their settings, ``generator`` is the source of the counting noise, ``turn_deg`` are
    the in-plane angles. With other ``pixels`` than the design's, the field is truly divided into so many, of which the
    middle is shown as if they had the design's size, continued periodically where they are fewer.
    """

    at: torch.Tensor | Sequence[Setting]
    generator: torch.Generator
    turn_deg: torch.Tensor | None = None
    pixels: int | None = None


def as_designed(design: DatasetDesign) -> Draw:
    """Settings as a design has them, with defoci drawn from its own: without repetition while there are enough."""

    def draw(images: int, rng: np.random.Generator) -> list[Setting]:
        defoci = rng.choice(design.defoci_A, images, replace=images > len(design.defoci_A))
        return [Setting.nominal(design.microscope, design.camera, float(defocus_A)) for defocus_A in defoci]

    return draw


def as_ranged(ranges: Ranges) -> Draw:
    """Settings drawn from ranges, each image at its own."""
    return lambda images, rng: [ranges.draw(rng) for _ in range(images)]


def camera(design: Camera, pixels: int) -> Camera:
    """The same camera with so many pixels across the field of 128 Å."""
    return Camera.model_validate(design.model_dump() | {"pixels": pixels, "pixel_size_A": FIELD_A / pixels})


def framed(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """The middle of periodic images (N, n, n) in so many pixels, continued periodically where n is smaller."""
    n = images.shape[-1]
    rows = (torch.arange(pixels) + (n - pixels) // 2) % n
    return images[:, rows][:, :, rows]


def expose(
    wave: np.ndarray, series: Series, design: DatasetDesign, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised images (N, n, n), float16, of an exit wave, and their contrasts (N,)."""
    waves = torch.as_tensor(wave, device=device)
    seen_by = camera(design.camera, series.pixels or design.camera.pixels)
    images = form_images(waves, series.at, design.microscope, seen_by, series.generator, series.turn_deg)
    shown = framed(images, design.camera.pixels) if series.pixels else images
    return standardise(shown).half().cpu(), (images.std(dim=(1, 2)) / images.mean(dim=(1, 2))).cpu()


def image_set(
    wave: Callable[[int], np.ndarray],
    series: Callable[[int], Series],
    table: pd.DataFrame,
    design: DatasetDesign,
    words: str,
    device: str = "cpu",
) -> ImageSet:
    """Form the images of many waves on all cores: the one way from waves to an image set.

    ``wave`` gives exit wave (m, m) number i, ``series`` the images wanted of it, always equally many; ``table`` says
    what is known of each wave, ``words`` what the progress bar shows. The images of a wave follow one another. The
    noise of another kind of device is other noise.
    """

    def one(index: int) -> tuple[torch.Tensor, torch.Tensor, list[dict]]:
        wanted = series(index)
        taken = [each.model_dump() if isinstance(each, Setting) else {"defocus_A": float(each)} for each in wanted.at]
        return *expose(wave(index), wanted, design, device), taken

    images, contrasts, taken = zip(*on_all_cores(one, range(len(table)), words), strict=True)
    at = pd.DataFrame([each for several in taken for each in several])
    rows = table.iloc[np.repeat(np.arange(len(table)), [len(each) for each in taken])].reset_index(drop=True)
    rows = rows.drop(columns=rows.columns.intersection(at.columns))
    return ImageSet(torch.cat(images), pd.concat([rows, at.assign(contrast=torch.cat(contrasts).numpy())], axis=1))


def _of_store(
    store: Store,
    split: Split,
    waves: int | None,
    key: tuple[int, ...],
    series: Callable[[int, np.random.SeedSequence], Series],
) -> ImageSet:
    """Images of the first waves of a split; the series takes a wave's number and a seed of its own."""
    table = store.table(split)
    count = len(table) if waves is None else waves
    if not 0 < count <= len(table):
        raise NanoshapeError(f"waves is {waves}, but must be between 1 and {len(table)}, the {split} waves there are")
    if any(start < count for _, start, _ in store.missing(split)):
        raise NanoshapeError(f"{store.path} is not finished: some of its {split} waves are missing; simulate it again")

    def seeded(index: int) -> Series:
        return series(index, np.random.SeedSequence(store.design.seed, spawn_key=(len(SPLITS), *key, index)))

    def wave(index: int) -> np.ndarray:
        return store.waves(split, index, index + 1)[0]

    return image_set(wave, seeded, table.iloc[:count], store.design, f"{split} images")


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
    at = torch.tensor(store.design.defoci_A if defoci_A is None else defoci_A, dtype=torch.float32)

    def series(_: int, seeds: np.random.SeedSequence) -> Series:
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        return Series(at, generator, 360 * torch.rand(len(at), generator=generator) if turned else None)

    return _of_store(store, split, waves, (SPLITS.index(split),), series)


def make_pass(store: Store, number: int, images_per_wave: int, waves: int | None = None) -> ImageSet:
    """Training images drawn afresh for one pass over them.

    Each wave gives some images. Their defoci are drawn from the design's without repetition, and then
    moved by up to half the distance to the next; every image has an in-plane angle and noise of its own.

    All draws depend on the design's seed, the number of the pass and the wave's alone. Raises NanoshapeError if more
    images are asked for than the design has defoci, or more waves than there are.
    """
    known = torch.tensor(sorted(store.design.defoci_A), dtype=torch.float32)
    if not 0 < images_per_wave <= len(known):
        raise NanoshapeError(f"images_per_wave is {images_per_wave}, but must be between 1 and {len(known)}")
    reach = float(known.diff().min()) / 2 if len(known) > 1 else 0.0

    def series(_: int, seeds: np.random.SeedSequence) -> Series:
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))
        chosen = known[torch.randperm(len(known), generator=generator)[:images_per_wave]]
        moved = chosen + reach * (2 * torch.rand(images_per_wave, generator=generator) - 1)
        return Series(moved, generator, 360 * torch.rand(images_per_wave, generator=generator))

    return _of_store(store, "train", waves, (len(SPLITS), number), series)


def make_images_at(
    store: Store,
    split: Split,
    settings: Callable[[int, np.random.Generator], list[Setting]],
    waves: int | None = None,
    turned: bool = False,
    number: int = 0,
) -> ImageSet:
    """Images of the first waves of a split, each wave at the settings that a function gives for its index.

    There are always equally many. A wave is turned in its plane, by -45 to 45 degrees, for training only. The random
    numbers of a wave depend on the design's seed, the split, ``number`` and the wave's index alone. Raises
    NanoshapeError if more waves are asked for than there are, or some are not made yet.
    """

    def series(index: int, seeds: np.random.SeedSequence) -> Series:
        rng = np.random.default_rng(seeds)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        at = settings(index, rng)
        return Series(at, generator, torch.full((len(at),), rng.uniform(-45, 45)) if turned else None)

    return _of_store(store, split, waves, (len(SPLITS) + 1, SPLITS.index(split), number), series)


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
    """Training images that are others in every epoch: epoch e sees pass ``e % passes``.

    ``make`` takes the number of a pass when it is first needed; it is then kept in the folder.
    """

    folder: Path
    passes: int
    make: Callable[[int], ImageSet]

    def at_epoch(self, epoch: int) -> ImageSet:
        """The images of an epoch, counted from zero."""
        number = epoch % self.passes
        return kept_images(self.folder / f"pass-{number:02d}", lambda: self.make(number))
