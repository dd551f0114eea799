"""How fast the networks train, against a bare loop over one batch of random numbers.

    python tests/benchmarks/training.py [--device cuda] [--output FILE]

Prints for each architecture the images a second of the bare loop, in float32 and as it is used here
(channels last, and bfloat16 where the processor has it), and the share of the second that a real epoch
reaches, with loading, symmetries and the validation set left out. Writes the table, by default to
``data/results/training_speed.csv``. Let nothing else run; ten minutes on two cores.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from nanoshape_lib.datasets.images import ImageSet
from nanoshape_lib.networks import training
from nanoshape_lib.networks.models import ARCHITECTURES, build_model, low_precision
from nanoshape_lib.networks.training import TrainingConfig
from nanoshape_lib.studies.profiles import load_profile
from nanoshape_lib.studies.results import RESULTS, provenance, save_tables

BATCH = 64
BATCHES = {"cnn4": 30, "cnn5": 30, "cnn6": 30, "resnet34": 6}


def best_rate(action: Callable[[], object], images: int, repeats: int = 3) -> float:
    """Images a second of the fastest of some runs, after one to warm up."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return images / min(seconds)


def bare(architecture: str, device: str, tuned: bool) -> Callable[[], None]:
    """Steps of AdamW on one batch that never changes."""
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = build_model(architecture).to(device).to(memory_format=layout).train()
    images = torch.randn(BATCH, 1, 128, 128, device=device).contiguous(memory_format=layout)
    labels = torch.randint(5, (BATCH,), device=device)
    optimizer, loss = torch.optim.AdamW(model.parameters()), nn.CrossEntropyLoss()
    kind, low = torch.device(device).type, tuned and low_precision(device)

    def steps() -> None:
        for _ in range(BATCHES[architecture]):
            with torch.autocast(kind, torch.bfloat16, enabled=low):
                outputs = model(images)
            optimizer.zero_grad(set_to_none=True)
            loss(outputs.float(), labels).backward()
            optimizer.step()

    return steps


def real(architecture: str, device: str) -> Callable[[], None]:
    """An epoch of the training loop on other images in every batch, its validation set of one image."""
    count = BATCH * BATCHES[architecture]
    table = pd.DataFrame({"group": np.arange(count), "label": np.arange(count) % 5})
    train = ImageSet(torch.randn(count, 128, 128).half(), table)
    config = TrainingConfig(architecture=architecture, epochs=10, batch_size=BATCH, device=device)
    return training._Run(config, train, train.take(np.arange(1))).train_epoch


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    for name in ARCHITECTURES:
        images = BATCH * BATCHES[name]
        plain = best_rate(bare(name, arguments.device, tuned=False), images)
        tuned = best_rate(bare(name, arguments.device, tuned=True), images)
        epoch = best_rate(real(name, arguments.device), images)
        rows.append((name, plain, tuned, tuned / plain, epoch, epoch / tuned))
        print(
            "{}: bare {:.0f}, tuned {:.0f} ({:.2f} times), epoch {:.0f} images/s, {:.0%} of the loop".format(*rows[-1])
        )
    columns = ["architecture", "plain_loop", "tuned_loop", "tuned_over_plain", "epoch", "epoch_over_loop"]
    origin = provenance(load_profile("paper"), arguments.device)
    save_tables({"training_speed": (pd.DataFrame(rows, columns=columns), origin)}, arguments.output)


if __name__ == "__main__":
    main()
