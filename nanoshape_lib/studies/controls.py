"""Controls: what a classifier must not be able to do, and what an easier or harder test does to it."""

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from nanoshape_lib.datasets.design import SplitDesign
from nanoshape_lib.datasets.generation import generate
from nanoshape_lib.datasets.images import ImageSet, make_images
from nanoshape_lib.networks.evaluation import accuracy_interval, predictions_table, training_difference
from nanoshape_lib.networks.models import IMAGE_PIXELS
from nanoshape_lib.networks.training import evaluate, fit
from nanoshape_lib.particles.shapes import Shape, build
from nanoshape_lib.simulation.imaging import standardise
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.runner import Job, Made, Part, Study
from nanoshape_lib.studies.trainings import (
    RECIPES,
    best_network,
    image_set,
    prepared_store,
    run_folder,
    training_images,
    trainings_of,
    validation_images,
)

# Version of the controls, raised when one of them trains or tests on other images; see `paths.cache_key`.
RECIPE = 1
MASK_RADIUS = 60  # pixels of 1 Å: what is left are the corners and a rim
AREA_BLUR = 4.0
REFERENCE_ORIENTATIONS = 3

Tested = dict[str, pd.DataFrame]


class _Controls:
    """The images all controls share: some for training, the validation set, and some of the test set."""

    def __init__(self, job: Job):
        self.job, self.profile, study = job, job.profile, job.profile.controls
        self.store = prepared_store(self.profile)
        self.train = _first(training_images(self.profile, self.store).at_epoch(0), study.images)
        self.validation = validation_images(self.profile, image_set(self.profile, self.store, "validation"))
        test = image_set(self.profile, self.store, "test")
        self.test = _first(test, study.test_waves * len(self.profile.dataset.defoci_A))

    def trained(
        self, name: str, train: ImageSet, *tests: ImageSet, validation: ImageSet | None = None
    ) -> list[pd.DataFrame]:
        """Predictions for some images after training on others."""
        study = self.profile.controls
        config = trainings_of(self.profile, study, self.profile.best.architecture, len(train))[0]
        folder = run_folder(self.profile, "controls", config, control=name, control_recipe=RECIPE, study=study)
        model, _ = fit(config, train, validation or self.validation, folder, self.job.deadline)
        return [evaluate(model, test) for test in tests]

    def unchanged(self) -> Tested:
        """Nothing is changed: what this little training reaches, for comparison."""
        return {"other particles": self.trained("unchanged", self.train, self.test)[0]}

    def shuffled_labels(self) -> Tested:
        """The particles' labels are shuffled: nothing can be learned that holds for other particles."""
        _, first, inverse = np.unique(self.train.table["group"], return_index=True, return_inverse=True)
        labels = self.train.table["label"].to_numpy()[first]
        shuffled = np.random.default_rng(0).permutation(labels)[inverse]
        train = ImageSet(self.train.images, self.train.table.assign(label=shuffled))
        return {"other particles": self.trained("shuffled_labels", train, self.test)[0]}

    def masked_particle(self) -> Tested:
        """The disc in which the particle lies is set to the mean: carbon alone must not tell the shape."""
        sizes = [size for size in self.profile.dataset.sizes_A if self._reach(size) < MASK_RADIUS]
        sets = (self.train, self.validation, self.test)
        train, validation, test = (_masked(_where(each, self._made_for(each, sizes))) for each in sets)
        tested = self.trained("masked_particle", train, test, validation=validation)[0]
        return {f"other particles up to {max(sizes):g} Å": tested}

    def _made_for(self, images: ImageSet, sizes: Sequence[float]) -> np.ndarray:
        """Which images show a particle of one of these sizes of the design."""
        every = np.array(self.profile.dataset.sizes_A)
        return np.isin(every[images.table["group"] // len(Shape) % len(every)], sizes)

    def _reach(self, size_A: float) -> float:
        """Largest distance [Å] of an atom from the middle of the field, for any shape, angle and place."""
        extent = max(np.linalg.norm(build(shape, size_A).positions, axis=1).max() for shape in Shape)
        return float(extent + np.sqrt(2) * self.profile.dataset.max_shift_A)

    def split_by_image(self) -> Tested:
        """Every other image of a particle is for training: testing on the rest leaks the particle."""
        odd = self.train.table.groupby("group").cumcount().to_numpy() % 2 == 1
        train, rest = _where(self.train, ~odd), _where(self.train, odd)
        same, other = self.trained("split_by_image", train, rest, self.test)
        return {"other images of the same particles": same, "other particles": other}

    def sizes_held_out(self) -> Tested:
        """Particles of the middle sizes are kept from the network."""
        sizes = self.profile.dataset.sizes_A
        start = (len(sizes) - 1) // 2
        middle = sizes[start : start + max(1, len(sizes) // 4)]
        names = " and ".join(f"{size:g}" for size in middle)
        train = _where(self.train, ~self._made_for(self.train, middle))
        held = self._made_for(self.test, middle)
        new, known = self.trained("sizes_held_out", train, _where(self.test, held), _where(self.test, ~held))
        return {f"particles of {names} Å, never seen": new, "particles of the other sizes": known}

    def area_and_contrast(self) -> Tested:
        """Logistic regression on the particle's apparent area and the image's contrast."""
        return {"other particles": self._regression(_area_and_contrast)}

    def radial_spectrum(self) -> Tested:
        """Logistic regression on the logarithm of the power spectrum, averaged over angles."""
        return {"other particles": self._regression(_radial_spectrum)}

    def _regression(self, features: Callable[[ImageSet], np.ndarray]) -> pd.DataFrame:
        regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        regression.fit(features(self.train), self.train.labels.numpy())
        return predictions_table(self.test.table, regression.decision_function(features(self.test)))

    def reference_fidelity(self) -> Tested:
        """The best network on the same particles, their waves computed on the finer grid."""
        design, network = self.profile.dataset, best_network(self.profile, self.store, deadline=self.job.deadline)[0]
        few = {name: SplitDesign(orientations=1, blocks=design.split(name).blocks) for name in ("train", "validation")}
        orientations = min(REFERENCE_ORIENTATIONS, design.test.orientations)
        test = design.test.model_copy(update={"orientations": orientations})
        finer = design.model_copy(update=few | {"test": test, "fidelity": "reference"})
        store = generate(finer, Path(self.store.path).parent / "reference.zarr", check=False)
        images = make_images(store, "test")
        same = _first(image_set(self.profile, self.store, "test"), len(images))
        sets = {"reference fidelity": images, f"the same particles at {design.fidelity} fidelity": same}
        return {name: evaluate(network, each) for name, each in sets.items()}


CONTROLS = (
    "unchanged", "area_and_contrast", "radial_spectrum", "reference_fidelity",
    "shuffled_labels", "split_by_image", "sizes_held_out", "masked_particle",
)  # fmt: skip


def controls(job: Job) -> Study:
    """The study of the controls, whose table ``controls`` has one row a control and set of test images.

    Columns: ``control``, ``question``, ``tested_on``, ``accuracy`` with its interval ``low`` to ``high``, ``images``,
    ``seconds`` that the control took; and ``difference`` with its interval ``difference_low`` to ``difference_high``
    where two sets hold the same images.
    """
    shared = cache(lambda: _Controls(job))

    def part(name: str) -> Part:
        def make() -> Made:
            start, tested = time.perf_counter(), getattr(shared(), name)()
            question = " ".join(getattr(_Controls, name).__doc__.split())
            rows = [(name, question, what, *accuracy_interval(each), len(each)) for what, each in tested.items()]
            columns = ["control", "question", "tested_on", "accuracy", "low", "high", "images"]
            table = pd.DataFrame(rows, columns=columns).assign(seconds=time.perf_counter() - start)
            if name == "reference_fidelity":
                groups, *_ = (each["group"].to_numpy() for each in tested.values())
                found = training_difference(groups, *(each[["correct"]].to_numpy().T for each in tested.values()))
                table.loc[0, ["difference", "difference_low", "difference_high"]] = found
            return Made({"controls": table})

        return Part(name, {"control": name}, ("controls",), make)

    def depends(profile: Profile) -> Any:
        return profile.dataset, profile.validation_waves, profile.controls

    return Study([part(name) for name in CONTROLS], depends, recipes=RECIPES | {"controls": RECIPE}, own="controls")


def _first(images: ImageSet, count: int) -> ImageSet:
    return images.take(np.arange(min(count, len(images))))


def _where(images: ImageSet, chosen: np.ndarray) -> ImageSet:
    return images.take(np.flatnonzero(chosen))


def _masked(images: ImageSet) -> ImageSet:
    """The images with nothing but their rim, standardised anew: its scale must not tell the particle's contrast."""
    x = np.arange(IMAGE_PIXELS) - (IMAGE_PIXELS - 1) / 2
    outside = torch.as_tensor(np.hypot(x, x[:, None]) >= MASK_RADIUS)
    masked = torch.zeros_like(images.images)
    masked[:, outside] = standardise(images.images[:, outside].float()[:, None])[:, 0].to(masked.dtype)
    return ImageSet(masked, images.table)


def _area_and_contrast(images: ImageSet) -> np.ndarray:
    """Features (N, 2): share of the image where its smoothed square is above half its range, and contrast."""
    powers = (gaussian_filter(image**2, AREA_BLUR) for image in images.images.float().numpy())
    areas = [(power > (power.min() + power.max()) / 2).mean() for power in powers]
    return np.column_stack([areas, images.table["contrast"]])


def _radial_spectrum(images: ImageSet) -> np.ndarray:
    """Features (N, 64): logarithm of the mean power in rings one frequency step wide."""
    frequency = torch.fft.fftfreq(IMAGE_PIXELS, 1 / IMAGE_PIXELS)
    ring = torch.hypot(frequency[:, None], frequency).round().long()
    inside = ring < IMAGE_PIXELS // 2
    count = torch.bincount(ring[inside])

    def profile(batch: Tensor) -> Tensor:
        power = torch.fft.fft2(batch.float()).abs().square()
        sums = torch.zeros(len(batch), IMAGE_PIXELS // 2).index_add_(1, ring[inside], power[:, inside])
        return torch.log(sums / count + 1e-6)

    return torch.cat([profile(batch) for batch in images.images.split(1024)]).numpy()
