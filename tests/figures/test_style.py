"""The numbers behind a figure are those that were drawn."""

import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import seaborn as sns
from nbformat.v4 import new_code_cell, new_notebook, new_output

from nanoshape_lib.book.notebooks import _tidy, save_figures
from nanoshape_lib.figures.results import failure_sectors
from nanoshape_lib.figures.style import FILES, figure_table, styled


@styled
def draw() -> plt.Figure:
    """One of everything."""
    fig, (left, middle, right) = plt.subplots(1, 3)
    left.plot([1, 2, 3], [4.0, 5.0, 6.5], label="a line")
    left.axhline(5, label="_hidden")
    left.errorbar([1.5], [5.0], yerr=[[0.5], [1.0]], fmt="o", label="a point with its interval")
    left.set(xlabel="images", ylabel="accuracy")
    middle.scatter([1, 2], [3, 4], c=[0.1, 0.9], label="points")
    middle.bar([5, 6], [7.0, 8.0])
    sns.heatmap(np.arange(4).reshape(2, 2), ax=right, cbar=False)
    right.set_title("a matrix")
    left.imshow(np.zeros((100, 100)))
    return fig


def test_every_kind_of_mark_gives_its_numbers_and_photographs_none():
    table = figure_table(draw())

    def rows(**equal):
        chosen = table
        for name, value in equal.items():
            chosen = chosen[chosen[name] == value]
        return chosen

    line = rows(series="a line")
    assert line[["x", "y"]].to_numpy().tolist() == [[1, 4], [2, 5], [3, 6.5]]
    assert set(line["x axis"]) == {"images"} and set(line["panel"]) == {1}
    assert sorted(rows(kind="segment")["y"]) == [4.5, 6.0]
    assert rows(series="points")["value"].tolist() == [0.1, 0.9]
    assert rows(kind="bar")[["x", "y"]].to_numpy().tolist() == [[5, 7], [6, 8]]
    matrix = rows(kind="matrix")
    assert matrix[["x", "y", "value"]].to_numpy().tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 2], [1, 1, 3]]
    assert set(matrix["title"]) == {"a matrix"}


def test_an_executed_figure_leaves_its_files_and_links_to_them(tmp_path):
    files = draw()._repr_mimebundle_()[FILES]
    output = new_output("display_data", {"image/png": "aGVsbG8=", FILES: files})
    head = new_output("display_data", {"text/html": '<table><tr><th class="x">&nbsp;</th><th>a</th></tr></table>'})
    cell = new_code_cell("draw()", outputs=[output, head])
    cell.metadata["mystnb"] = {"figure": {"caption": "Marks.", "name": "fig-marks"}}
    notebook = _tidy(new_notebook(cells=[cell]), "mark")
    caption = notebook.cells[0].metadata["mystnb"]["figure"]["caption"]
    assert (
        caption == "Marks. Download: {download}`SVG <figures/fig-marks.svg>`, {download}`CSV <figures/fig-marks.csv>`."
    )
    assert '<td class="x"></td><th>a</th>' in notebook.cells[0].outputs[1].data["text/html"]
    nbformat.write(notebook, tmp_path / "a.ipynb")
    written = save_figures(tmp_path / "a.ipynb", tmp_path)
    assert {path.suffix for path in written} == {".png", ".svg", ".csv"}
    assert (tmp_path / "fig-marks.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert len(pd.read_csv(io.StringIO(files["csv"]))) == len(figure_table(draw()))


def test_each_triangle_of_failures_says_the_share_of_images_that_fail():
    rows = [(group, shape, group < 5) for shape in range(5) for group in (shape, shape + 5)]
    predictions = pd.DataFrame(rows, columns=["group", "label", "correct"]).assign(beam_x=0.1, beam_y=0.2, beam_z=0.97)
    predictions.loc[predictions["label"] == 0, "correct"] = False
    titles = [axes.get_title() for axes in failure_sectors(predictions, "").axes]
    assert titles[0] == "cube\n2 waves, 100 % of images fail" and titles[1].endswith("2 waves, 50 % of images fail")
