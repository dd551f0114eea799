"""Data as small scripts, the only files that a page opened from the disk may load."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any


def write_asset(folder: Path, name: str, data: bytes) -> Path:
    """Write bytes as a script that hands them to the page, compressed, under a name; see ``book/play/assets.js``."""
    text = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    path = folder / f"{name}.js"
    path.write_text(f'nanoshapeAsset("{name}","{text}");\n', encoding="ascii")
    return path


def write_json(folder: Path, name: str, value: Any) -> Path:
    """Write a JSON value as an asset."""
    return write_asset(folder, name, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
