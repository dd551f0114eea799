"""Training: one loop for every network, with checkpoints and early stopping on the validation set."""

import math
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import trange

from nanoshape_lib.datasets.images import FreshImages, ImageSet
from nanoshape_lib.errors import NanoshapeError, OutOfTime
from nanoshape_lib.networks.evaluation import predictions_table
from nanoshape_lib.networks.features import symmetries
from nanoshape_lib.networks.models import (
    Architecture,
    build_model,
    count_parameters,
    forward,
    load_weights,
    save_weights,
)
from nanoshape_lib.paths import replacing

RECIPE = 1
"""Version of what a training makes of its images; raised when its results change."""
PREDICT_BATCH = 256


class TrainingConfig(BaseModel):
    """How a network is trained. None of these values is the paper's: its own are not known to us."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = "cnn6"
    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(64, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(1e-2, ge=0, le=1)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps during which the rate rises")
    patience: int = Field(1_000, ge=1, description="epochs without a better validation loss before stopping")
    augment: bool = True
    seed: int = Field(0, ge=0)
    device: str = "cpu"


def symmetry_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (N, h, w) under one of the eight symmetries of the square, drawn at random: no interpolation."""
    choice = torch.randint(8, (len(images),), generator=generator)
    return symmetries(images)[choice, torch.arange(len(images))]


def _join_processes(device: str) -> str:
    """The device of this process, after joining those that ``torchrun`` started, if any."""
    if "WORLD_SIZE" not in os.environ:
        return device
    on_card = device.startswith("cuda")
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if on_card else "gloo")
    return f"cuda:{os.environ['LOCAL_RANK']}" if on_card else device


def _place() -> tuple[int, int]:
    """Number of this process, and of all that train together."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def fit(
    config: TrainingConfig,
    train: ImageSet | FreshImages,
    validation: ImageSet,
    folder: str | Path,
    deadline: float = math.inf,
    start: Path | None = None,
) -> tuple[nn.Module, dict]:
    """Train a network, or take up again where an interrupted training stopped.

    The weights kept are those of the epoch with the lowest validation loss. The test set plays no part.
    Started by ``torchrun`` in several processes, each computes its share of every batch, and the first of
    them writes. The weights are those of one process to rounding, unless the network has batch
    normalisation, which sees the share alone.

    Parameters
    ----------
    train, validation
        Image sets; they must come from different groups (splits of one store do). The training images may
        be others in every epoch.
    folder
        Run folder: ``weights.safetensors`` with its card once finished, ``checkpoint.pt`` until then.
    deadline
        Value of ``time.monotonic()`` [s] after which no further epoch begins.
    start
        Weights file to begin with in place of random weights, for fine-tuning.

    Returns
    -------
    model, card
        The trained network in evaluation mode, and its card: configuration, parameters, seconds, and the
        ``history`` of every epoch (train_loss, validation_loss, validation_accuracy, seconds).

    Raises
    ------
    NanoshapeError
        If the folder holds another configuration's run.
    """
    folder = Path(folder)
    weights = folder / "weights.safetensors"
    if weights.exists():
        model, card = load_weights(weights)
        _check_same(config, card["config"], folder)
        return model.to(config.device), card
    run = _Run(config, train, validation, start)
    writes, checkpoint = run.rank == 0, folder / "checkpoint.pt"
    if writes:
        folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        run.restore(torch.load(checkpoint, weights_only=True), folder)
    with trange(config.epochs, initial=run.epoch, desc=config.architecture, unit="epoch", disable=not writes) as bar:
        while run.epoch < config.epochs and run.epoch - run.best_epoch < config.patience:
            if run.any_late(time.monotonic() > deadline):
                raise OutOfTime(f"{folder} has {run.epoch} of {config.epochs} epochs; the same command goes on")
            run.train_epoch()
            bar.set_postfix({key: f"{value:.3f}" for key, value in run.history[-1].items() if key != "epoch"})
            bar.update()
            if writes:
                with replacing(checkpoint) as partial:
                    torch.save(run.state(), partial)
    run.model.load_state_dict(run.best_weights)
    card = {
        "architecture": config.architecture,
        "config": config.model_dump(),
        "parameters": count_parameters(run.model),
        "train_images": len(train.at_epoch(0)),
        "train_waves": int(train.at_epoch(0).table["group"].nunique()),
        "best_epoch": run.best_epoch,
        "seconds": sum(row["seconds"] for row in run.history),
        "history": run.history,
        "versions": {"torch": torch.__version__},
    }
    if writes:
        save_weights(run.model, card, weights)
        checkpoint.unlink(missing_ok=True)
    return run.model.eval(), card


def predict(model: nn.Module, images: Tensor) -> np.ndarray:
    """Logits (N, 5), float32, of standardised images (N, 128, 128)."""
    device = str(next(model.parameters()).device)
    model.eval()
    batches = images.split(PREDICT_BATCH)
    with torch.inference_mode():
        return torch.cat([forward(model, batch, device).float().cpu() for batch in batches]).numpy()


def evaluate(model: nn.Module, images: ImageSet, temperature: float = 1.0) -> pd.DataFrame:
    """Predictions for a set of images, see :func:`nanoshape_lib.networks.evaluation.predictions_table`."""
    return predictions_table(images.table, predict(model, images.images), temperature)


def _check_same(config: TrainingConfig, found: dict, folder: Path) -> None:
    if TrainingConfig.model_validate(found) != config:
        raise NanoshapeError(f"folder is {folder}, but the run there has another configuration; name another folder")


class _Run:
    """State of one training: everything that must survive an interruption."""

    def __init__(
        self, config: TrainingConfig, train: ImageSet | FreshImages, validation: ImageSet, start: Path | None = None
    ):
        self.config, self.train, self.validation = config, train, validation
        torch.manual_seed(config.seed)
        self.device = _join_processes(config.device)
        self.rank, self.ranks = _place()
        if config.batch_size % self.ranks:
            raise NanoshapeError(
                f"batch_size is {config.batch_size}, but must be a multiple of {self.ranks}, the number of processes"
            )
        model = build_model(config.architecture)
        if start is not None:
            given, card = load_weights(start)
            if card["architecture"] != config.architecture:
                raise NanoshapeError(f"start is a {card['architecture']}, but must be a {config.architecture}")
            model.load_state_dict(given.state_dict())
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.shared = DistributedDataParallel(self.model) if self.ranks > 1 else self.model
        self.generator = torch.Generator().manual_seed(config.seed)
        rate = config.learning_rate
        self.optimizer = torch.optim.AdamW(self.model.parameters(), rate, weight_decay=config.weight_decay)
        steps = max(2, config.epochs * max(1, len(train.at_epoch(0)) // config.batch_size))
        # OneCycleLR divides by zero if the rise ends at the first step.
        warmup = max(config.warmup, 1.5 / steps)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=steps, pct_start=warmup)
        self.loss = nn.CrossEntropyLoss()
        self.epoch, self.best_epoch, self.best_loss = 0, 0, float("inf")
        self.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.history: list[dict[str, float]] = []

    def train_epoch(self) -> None:
        """One pass over the training images, then the validation set."""
        start, config = time.perf_counter(), self.config
        train = self.train.at_epoch(self.epoch)
        labels = train.labels
        self.model.train()
        order = torch.randperm(len(labels), generator=self.generator)
        whole = max(1, len(order) // config.batch_size) * config.batch_size
        losses = []
        for rows in order[:whole].split(config.batch_size):
            images = train.images[rows]
            if config.augment:
                images = symmetry_augment(images, self.generator)
            mine = slice(self.rank, None, self.ranks)
            outputs = forward(self.shared, images[mine], self.device).float()
            loss = self.loss(outputs, labels[rows][mine].to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.detach())
        train_loss = torch.stack(losses).mean()
        if self.ranks > 1:
            distributed.all_reduce(train_loss, distributed.ReduceOp.SUM)
        logits = torch.as_tensor(predict(self.model, self.validation.images))
        truth = self.validation.labels
        validation_loss = float(self.loss(logits, truth))
        self.epoch += 1
        if validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = validation_loss, self.epoch
            self.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        accuracy = float((logits.argmax(1) == truth).float().mean())
        row = {"epoch": self.epoch, "train_loss": float(train_loss) / self.ranks, "validation_loss": validation_loss}
        self.history.append(row | {"validation_accuracy": accuracy, "seconds": time.perf_counter() - start})

    def any_late(self, late: bool) -> bool:
        """Whether the time is up in any of the processes, so that all stop together."""
        flag = torch.tensor(float(late), device=self.device)
        if self.ranks > 1:
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {
            "config": self.config.model_dump(),
            **{name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")},
            "generator": self.generator.get_state(),
            "best_weights": self.best_weights,
            "progress": (self.epoch, self.best_epoch, self.best_loss),
            "history": self.history,
        }

    def restore(self, state: dict, folder: Path) -> None:
        """Take up a checkpoint."""
        _check_same(self.config, state["config"], folder)
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.best_weights, self.history = state["best_weights"], state["history"]
        self.epoch, self.best_epoch, self.best_loss = state["progress"]
