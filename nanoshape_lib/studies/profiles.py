"""Profiles: how much of the study a run of the notebooks computes."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from nanoshape_lib.datasets.design import DatasetDesign
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.networks.models import Architecture
from nanoshape_lib.networks.training import TrainingConfig
from nanoshape_lib.paths import PROFILES
from nanoshape_lib.simulation.devices import check_device
from nanoshape_lib.simulation.optics import Ranges


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trainings(_Settings):
    """How the networks of a study are trained: for so many epochs, or more if they have too few steps."""

    trainings: int = Field(ge=1)
    epochs: int = Field(ge=1)
    steps: int = Field(1, ge=1, description="least number of batches that a training sees")
    batch_size: int = Field(ge=1)

    def epochs_of(self, images: int) -> int:
        """Epochs of a training on so many images."""
        return max(self.epochs, -(-self.steps // max(1, images // self.batch_size)))


class ArchitectureStudy(Trainings):
    """Figure S1: training-set sizes (in images), and how many trainings of each network."""

    architectures: tuple[Architecture, ...] = ("cnn4", "cnn5", "cnn6", "resnet34")
    train_images: tuple[int, ...]


class SamplingStudy(Trainings):
    """Figure S2: one budget of images, split between defoci of a particle and particles."""

    images: int = Field(ge=1)
    defoci_per_wave: tuple[int, ...]


class ControlStudy(Trainings):
    """The controls: how many images to train on, and how many waves of the test set to ask."""

    images: int = Field(ge=1)
    test_waves: int = Field(ge=1)


class FreshTraining(_Settings):
    """Training images of the best network that are drawn anew for each pass; see :class:`FreshImages`."""

    images_per_wave: int = Field(ge=1)
    passes: int = Field(ge=1)


class DomainRandomisation(_Settings):
    """How a network is trained on with settings of the microscope drawn from ranges; every choice here is ours.

    Of the waves of each split the first so many are used, at most those there are.
    """

    ranges: Ranges = Ranges()
    images_per_wave: int = Field(2, ge=1, description="images at random settings that a wave gives to one pass")
    passes: int = Field(1, ge=1, description="sets of training images, drawn anew; epoch e sees set e modulo this")
    waves: int = Field(10_000, ge=1)
    validation_waves: int = Field(1_000, ge=1)
    training: TrainingConfig = TrainingConfig(epochs=5, learning_rate=1e-3)


class RobustnessStudy(_Settings):
    """How networks are trained on with ranges, fully and briefly, and how many particles they are asked about."""

    domain_randomisation: DomainRandomisation = DomainRandomisation()
    ablations: DomainRandomisation = DomainRandomisation(
        waves=1200, validation_waves=200, training=TrainingConfig(epochs=4, learning_rate=1e-3)
    )
    original_waves: int = Field(1200, ge=1, description="test waves with images at the design's settings")
    random_waves: int = Field(960, ge=1, description="test waves with images at settings drawn from the ranges")
    sweep_waves: int = Field(240, ge=1, description="test waves with images at each value of each setting")
    specimen_waves: int = Field(240, ge=1, description="particles of each temperature, strain and film")
    micrographs: int = Field(40, ge=1, description="whole micrographs of each metal")


class Profile(_Settings):
    """One profile: data set, best network, the studies and the grids of the convergence table.

    Without ``fresh`` the best network learns from the same images in every epoch. The studies choose their
    epoch by the first ``validation_waves`` of the validation set, or by all of it.
    """

    name: str
    summary: str
    dataset: DatasetDesign
    best: TrainingConfig
    fresh: FreshTraining | None = None
    validation_waves: int | None = Field(None, ge=1)
    architectures: ArchitectureStudy
    sampling: SamplingStudy
    controls: ControlStudy
    robustness: RobustnessStudy = RobustnessStudy()
    convergence_grids: tuple[tuple[float, float], ...]

    def with_seed(self, seed: int) -> "Profile":
        """The same profile with another root of all random numbers."""
        if seed < 0:
            raise NanoshapeError(f"seed is {seed}, but must not be negative")
        dataset = self.dataset.model_copy(update={"seed": seed})
        return self.model_copy(update={"dataset": dataset, "best": self.best.model_copy(update={"seed": seed})})

    def on_device(self, device: str) -> "Profile":
        """The same profile, its networks trained on another device of this machine."""
        check_device(device)
        return self.model_copy(update={"best": self.best.model_copy(update={"device": device})})

    @property
    def stamp(self) -> str:
        """What a figure says of its origin."""
        return f"profile {self.name}: {self.summary}; seed {self.dataset.seed}"


def load_profile(name: str, seed: int = 0) -> Profile:
    """Read ``notebooks/profiles/NAME.yml``.

    Raises
    ------
    NanoshapeError
        If there is no such profile.
    """
    path = PROFILES / f"{name}.yml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yml")))
        raise NanoshapeError(f"profile is {name!r}, but must be one of: {known}")
    return Profile.model_validate({"name": name} | yaml.safe_load(path.read_text(encoding="utf-8"))).with_seed(seed)


def load_design(source: str, seed: int | None = None) -> DatasetDesign:
    """The design in a YAML file, or that of a shipped profile.

    The source is the path of a file, known by its ending ``.yml`` or ``.yaml``, with the fields of
    :class:`~nanoshape_lib.datasets.design.DatasetDesign`, alone or below the key ``dataset``; or the name of a profile.
    The seed replaces the file's own. Raises NanoshapeError if there is no such file or profile, or the file is no YAML
    mapping, and ValidationError if the design makes no sense.
    """
    path = Path(source)
    if path.suffix.lower() not in {".yml", ".yaml"}:
        return load_profile(source, seed or 0).dataset
    if not path.is_file():
        raise NanoshapeError(f"design is {source!r}, but there is no such file")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NanoshapeError(f"design is {source!r}, but that is no YAML: {' '.join(str(error).split())}") from None
    fields = fields.get("dataset", fields) if isinstance(fields, dict) else fields
    if not isinstance(fields, dict):
        raise NanoshapeError(f"design is {source!r}, but must hold the fields of a design, such as sizes_A: [40, 50]")
    return DatasetDesign.model_validate(fields | ({} if seed is None else {"seed": seed}))
