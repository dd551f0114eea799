"""Where torch computes: a device that is there, or all cores at once."""

import os
import platform
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from nanoshape_lib.errors import NanoshapeError

Made = TypeVar("Made")


def on_all_cores(make: Callable[[int], Made], numbers: Sequence[int], words: str) -> list[Made]:
    """What a function makes of each number, in their order, under a progress bar of these words.

    As many threads as torch may use, each of them single: faster than threads within small transforms.
    """
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(tqdm(pool.map(make, numbers), total=len(numbers), desc=words, unit="wave"))


def check_device(device: str, here: bool = True) -> None:
    """Refuse what is no device, or none of this machine if it is to be here."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise NanoshapeError(f"device is {device!r}, but must be cpu, cuda or cuda:N")
    if here and device != "cpu" and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise NanoshapeError(f"device is {device!r}, but this machine has {torch.cuda.device_count()} CUDA devices")


def hardware(device: str = "cpu") -> dict[str, str | int]:
    """Processor, cores and, where one is used, graphics card of this machine."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: *(.+)", cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else "")
    processor = named[1].strip() if named else platform.processor() or platform.machine()
    found: dict[str, str | int] = {"processor": processor, "cores": os.cpu_count() or 1}
    if device.startswith("cuda"):
        found["graphics card"] = torch.cuda.get_device_name(device)
    return found
