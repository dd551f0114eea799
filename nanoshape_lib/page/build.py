"""Everything that the page without a kernel loads, made by the build."""

from nanoshape_lib.fingerprint import code_hash, files_hash
from nanoshape_lib.javascript import MODULES, PLAY, bundle
from nanoshape_lib.page.assets import write_asset
from nanoshape_lib.page.network import WEIGHTS, network_asset, runtime_asset
from nanoshape_lib.page.waves import waves_assets

PFFFT = MODULES / "@echogarden" / "pffft-wasm" / "dist" / "simd" / "pffft.wasm"


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
    mark = files_hash([WEIGHTS, WEIGHTS.with_suffix(".json"), lock], kind, code_hash("nanoshape_lib.page.build"))
    stamp = PLAY / "made"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == mark:
        return
    for stale in [*PLAY.glob("wave*.js"), stamp]:
        stale.unlink(missing_ok=True)
    print("  making the waves and the network of the page without a kernel …", flush=True)
    write_asset(PLAY, "fft-wasm", PFFFT.read_bytes())
    network_asset(PLAY)
    runtime_asset(PLAY)
    if kind == "smoke":
        waves_assets(PLAY, divisions=1, sizes_A=(55.0,), fidelity="fast")
    else:
        waves_assets(PLAY)
    stamp.write_text(mark, encoding="utf-8")
