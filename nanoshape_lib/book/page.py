"""Everything that the page without a kernel loads, made by the build."""

from pathlib import Path
from typing import Any

from nanoshape_lib.book.assets import write_asset
from nanoshape_lib.book.catalogue import waves_assets
from nanoshape_lib.book.javascript import MODULES, PLAY, bundle
from nanoshape_lib.book.notebooks import files_hash, source_files
from nanoshape_lib.book.onnx_network import WEIGHTS, network_asset, runtime_asset
from nanoshape_lib.book.twin_figure import draw_twin
from nanoshape_lib.book.twins import twins_assets
from nanoshape_lib.particles.shapes import Shape
from nanoshape_lib.paths import MANIFEST

PFFFT = MODULES / "@echogarden" / "pffft-wasm" / "dist" / "simd" / "pffft.wasm"
SMOKE: dict[str, Any] = {"divisions": 1, "sizes_A": (55.0,), "fidelity": "fast"}


def build_page(profile: str) -> None:
    """Write the scripts and assets of ``book/play.md`` into ``book/_vendor/play``, unless they are up to date.

    Parameters
    ----------
    profile
        ``"smoke"`` has few directions, one size and coarse waves; the others have all.
    """
    PLAY.mkdir(parents=True, exist_ok=True)
    bundle()
    kind = "smoke" if profile == "smoke" else "full"
    lock = MODULES.parent / "package-lock.json"
    code = source_files("import nanoshape_lib.book.page")
    mark = files_hash([WEIGHTS, WEIGHTS.with_suffix(".json"), lock, MANIFEST, *code], kind)
    stamp = PLAY / "made"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == mark:
        return
    for stale in [*PLAY.glob("wave*.js"), stamp]:
        stale.unlink(missing_ok=True)
    print("  making the waves and the network of the page without a kernel …", flush=True)
    write_page(PLAY, **(SMOKE if kind == "smoke" else {}))
    stamp.write_text(mark, encoding="utf-8")


def write_page(folder: Path, **waves: Any) -> None:
    """Write the assets and the figure of the page into a folder; `bundle` makes its code.

    Parameters
    ----------
    folder
        Where the page looks for its assets.
    **waves
        Arguments of :func:`nanoshape_lib.book.catalogue.waves_assets`, if not its defaults.
    """
    write_asset(folder, "fft-wasm", PFFFT.read_bytes())
    network_asset(folder)
    runtime_asset(folder)
    twins_assets(folder)
    written = waves_assets(folder, **waves)
    draw_twin(next(wave for wave in written if wave.shape is Shape.TRUNCATED_OCTAHEDRON), folder / "twin.png")
