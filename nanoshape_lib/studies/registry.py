"""Every study by its name: what it lacks is trained, and its tables are written."""

from collections.abc import Callable
from pathlib import Path

from nanoshape_lib.studies.campaign import best_study, trainings_study
from nanoshape_lib.studies.controls import controls_study
from nanoshape_lib.studies.micrographs import METALS, METALS_NAME, METALS_SEED, micrograph_study
from nanoshape_lib.studies.ood import ood_studies
from nanoshape_lib.studies.profiles import Profile
from nanoshape_lib.studies.specimens import shipped_specimens
from nanoshape_lib.studies.trainings import Run, architecture_runs, sampling_runs
from nanoshape_lib.studies.transfer import ablation_study, transfer_study

Study = Callable[[Profile, float, Path, Path], tuple[int, int]]
"""Takes a profile, a deadline of ``time.monotonic()`` [s], and the folders of tables and of weights; gives how many
parts are finished and how many there are."""


def _trainings(name: str, runs: Callable[[Profile], list[Run]]) -> Study:
    def study(profile: Profile, deadline: float, folder: Path, weights: Path) -> tuple[int, int]:
        return trainings_study(name, profile, runs(profile), deadline, folder)

    return study


def _micrographs(profile: Profile, deadline: float, folder: Path, weights: Path) -> tuple[int, int]:
    files = {name: weights / f"{name}.safetensors" for name in ("cnn6", "cnn6_ranges")}
    gold = micrograph_study(files, folder=folder)
    ranges = {"cnn6_ranges": files["cnn6_ranges"]}
    metals = micrograph_study(ranges, folder=folder, seed=METALS_SEED, metals=METALS, name=METALS_NAME)
    taken = sum(len(table.groupby(["metal", "micrograph"])) for table in (gold, metals))
    return taken, taken


STUDIES: dict[str, Study] = {
    "architectures": _trainings("architectures", architecture_runs),
    "sampling": _trainings("sampling", sampling_runs),
    "controls": lambda profile, deadline, folder, weights: controls_study(profile, deadline, folder),
    "best": best_study,
    "transfer": transfer_study,
    "ablations": lambda profile, deadline, folder, weights: ablation_study(profile, deadline, folder),
    "ood": lambda profile, deadline, folder, weights: ood_studies(profile, folder, weights),
    "micrographs": _micrographs,
    "specimens": lambda profile, deadline, folder, weights: shipped_specimens(profile, folder, weights),
}
