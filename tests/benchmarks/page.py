"""How fast the page without a kernel is in a browser: from a knob to the picture and the classifier's answer.

    PYTHONPATH=tests python tests/benchmarks/page.py [--moves N] [--folder DIR]

Prints the median and the 95 % quantile [ms] for every knob, and the time [s] to the first picture, opened from the
disk. ``--folder book/_vendor/play`` takes what the last build made; else a page with coarse waves is made.
Let nothing else run meanwhile. One minute.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from page_browser import PAGE, chromium, write_explorer

from nanoshape_lib.book import javascript

MOVE = """async ([label, moves]) => {
    const named = [...document.querySelectorAll(".play-row label")].find(each => each.textContent === label);
    const input = document.getElementById(named.htmlFor);
    const canvas = document.querySelector(".play-explorer .play-image");
    const [low, high, step] = [input.min, input.max, input.step].map(Number);
    const times = [];
    for (let i = 0; i < moves; i++) {
        const value = low + step * Math.round(((i * 0.618) % 1) * (high - low) / step);
        const answered = new Promise(resolve => new MutationObserver((_, observer) => {
            observer.disconnect();
            resolve(performance.now());
        }).observe(canvas, { attributeFilter: ["data-shown"] }));
        input.value = value;
        const start = performance.now();
        input.dispatchEvent(new Event("input"));
        times.push((await answered) - start);
        await new Promise(resolve => setTimeout(resolve, 150));
    }
    return times;
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.folder:
            shutil.copytree(arguments.folder, folder, dirs_exist_ok=True)
            shutil.copy(javascript.BOOK / "css" / "book.css", folder)
            (folder / "page.html").write_text(PAGE, encoding="utf-8")
        else:
            javascript.install_javascript()
            write_explorer(folder)
        for browser in chromium():
            measure(browser, folder, arguments.moves)


def measure(browser, folder: Path, moves: int) -> None:
    """Time the first picture in three new pages, then every knob in the last of them."""
    for _ in range(3):
        page = browser.new_page()
        start = time.perf_counter()
        page.goto((folder / "page.html").as_uri())
        page.wait_for_function("document.querySelector('.play-explorer .play-image')?.pixels")
        print(f"first picture after {time.perf_counter() - start:.2f} s")
    page.get_by_role("button", name="Ask the classifier").click()
    page.wait_for_selector(".play-image[data-shown]")
    page.wait_for_timeout(3000)
    every = []
    for label in page.locator(".play-controls .play-row:has(input) label").all_text_contents():
        times = page.evaluate(MOVE, [label, moves])
        every += times
        print(f"{label:20s} median {np.median(times):6.1f} ms, 95 % below {np.quantile(times, 0.95):6.1f} ms")
    print(f"{'all':20s} median {np.median(every):6.1f} ms, 95 % below {np.quantile(every, 0.95):6.1f} ms")


if __name__ == "__main__":
    main()
