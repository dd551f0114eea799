"""Form of the notebooks, the set-up files, and the runner; and the built book, if there is one."""

import re
from collections import Counter

import nbformat
import pytest
import yaml
from typer.testing import CliRunner

from nanoshape_lib.book import build, notebooks
from nanoshape_lib.cli import app
from nanoshape_lib.errors import NanoshapeError
from nanoshape_lib.paths import NOTEBOOKS, ROOT, data_file, read_manifest

SOURCES = sorted(NOTEBOOKS.glob("*.ipynb"))
RANDOM = re.compile(r"\b(profile|seed)\b")


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def figure_of(cell):
    return cell.metadata.get("mystnb", {}).get("figure")


# ------------------------------------------------------------------ notebooks


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_notebook_form(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in code_cells(notebook):
        assert not cell.outputs and cell.execution_count is None, "outputs are not committed"
        assert len(cell.source.splitlines()) <= 15, cell.source
        assert not re.search(r"^\s*(async def|def|class) |\blambda\b", cell.source, re.MULTILINE), cell.source


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_notebook_has_one_cell_of_plain_parameters(path):
    notebook = read(path)
    cells = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    declared = notebooks.declared_parameters(notebook)
    assert declared and all(isinstance(value, bool | int | float | str) for value in declared.values())
    used = {name for cell in code_cells(notebook) if cell is not cells[0] for name in RANDOM.findall(cell.source)}
    assert used <= set(declared)


def test_figures_are_named_once_and_described():
    figures = [(path.stem, cell) for path in SOURCES for cell in code_cells(read(path)) if figure_of(cell)]
    names = Counter(figure_of(cell)["name"] for _, cell in figures)
    assert [name for name, count in names.items() if count > 1] == []
    for page, cell in figures:
        name, alt = figure_of(cell)["name"], cell.metadata["mystnb"].get("image", {}).get("alt", "")
        assert name.startswith("fig-") and figure_of(cell)["caption"].strip(), (page, name)
        assert len(alt.split()) >= 5 and ".png" not in alt, (page, name, alt)


def test_every_notebook_is_a_page():
    assert build.toc_notebooks() == [path.stem for path in SOURCES]


# ------------------------------------------------------------------ set-up files


def test_javascript_lock_holds_no_download_address():
    assert '"resolved"' not in (ROOT / "book/package-lock.json").read_text()
    assert not (ROOT / "book/_static").exists(), "Jupyter Book would load every script of every static folder"


def test_manifest_agrees_with_the_data():
    for name in read_manifest():
        data_file(name)


def test_changed_data_file_is_named_with_its_expected_hash(tmp_path, monkeypatch):
    manifest = tmp_path / "MANIFEST.sha256"
    manifest.write_text(f"{'0' * 64}  x.npz\n")
    monkeypatch.setattr("nanoshape_lib.paths.DATA", tmp_path)
    monkeypatch.setattr("nanoshape_lib.paths.MANIFEST", manifest)
    with pytest.raises(NanoshapeError, match=r"x.npz is missing.*0{64}"):
        data_file("x.npz")
    (tmp_path / "x.npz").write_text("other")
    with pytest.raises(NanoshapeError, match=r"0{64} is expected"):
        data_file("x.npz")


# ------------------------------------------------------------------ the runner


def notebook_with(tmp_path, *sources, parameters="seed = 0"):
    cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "99_test.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def test_failed_notebook_is_named_and_leaves_nothing(tmp_path):
    source = notebook_with(tmp_path, "raise RuntimeError('no such\\nlast line')")
    with pytest.raises(NanoshapeError, match=r"99_test.ipynb failed in code cell \d: .*last line"):
        notebooks.execute(source, tmp_path / "out.ipynb", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["99_test.ipynb"]


def test_parameters_are_injected_and_folded(tmp_path):
    target = tmp_path / "out.ipynb"
    notebooks.execute(notebook_with(tmp_path, "print(seed + 1)"), target, {"seed": 41})
    executed = read(target)
    assert executed.cells[1].metadata.tags == ["injected-parameters", "hide-cell"]
    assert executed.cells[2].outputs[0].text == "42\n"
    assert "papermill" not in executed.metadata


def test_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(NanoshapeError, match=r"parameter 'sede' is not one of 99_test.ipynb, which are: seed"):
        notebooks.execute(notebook_with(tmp_path), tmp_path / "out.ipynb", {"sede": 1})


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.5, "1.5, but must be a whole"), ("many", "'many', but must be a whole"), (True, "True, but must be a whole")],
)
def test_a_parameter_of_another_kind_is_named(tmp_path, value, words):
    with pytest.raises(NanoshapeError, match=rf"^seed is {words} number$"):
        notebooks.execute(notebook_with(tmp_path), tmp_path / "out.ipynb", {"seed": value})


def test_a_value_that_a_cell_refuses_is_named(tmp_path):
    cell = "from nanoshape_lib.datasets.design import SplitDesign\nSplitDesign(orientations=seed, blocks=(1,))"
    with pytest.raises(
        NanoshapeError, match=r"orientations Input should be greater than or equal to 1 [^\n]*$"
    ) as raised:
        notebooks.execute(notebook_with(tmp_path, cell), tmp_path / "out.ipynb", {"seed": -1})
    assert "further information" not in str(raised.value)


def test_fingerprint_follows_parameters_and_profile(tmp_path):
    source = notebook_with(tmp_path, "%matplotlib inline\nfrom nanoshape_lib.particles import shapes")
    marks = [
        notebooks.fingerprint(source, {"seed": seed, "profile": name}) for seed in (0, 1) for name in ("smoke", "quick")
    ]
    assert len(set(marks)) == 4
    assert marks[0] == notebooks.fingerprint(source, {"profile": "smoke", "seed": 0})


def test_source_files_follow_imports_but_not_their_users():
    names = {path.name for path in notebooks.source_files("from nanoshape_lib.particles.orientation import euler")}
    assert {"__init__.py", "orientation.py"} <= names
    assert not names & {"cli.py", "build.py", "training.py"}
    assert notebooks.source_files("from nanoshape_lib import Shape, build") == notebooks.source_files(
        "from nanoshape_lib.particles.shapes import Shape"
    )
    through = {path.name for path in notebooks.source_files("import nanoshape_lib.book.build")}
    assert {"build.py", "notebooks.py", "paths.py", "errors.py", "nanoshape.mplstyle"} <= through
    lazily = {path.name for path in notebooks.source_files("import nanoshape_lib as ns\nns.exit_wave(scene)")}
    assert {"exit_waves.py", "multislice.py"} <= lazily and "training.py" not in lazily


def test_orphan_widgets_are_dropped_and_links_kept():
    states = {
        "box": {"model_name": "VBoxModel", "state": {"children": ["IPY_MODEL_slider", "IPY_MODEL_stack"]}},
        "slider": {"model_name": "IntSliderModel", "state": {}},
        "stack": {"model_name": "StackModel", "state": {}},
        "link": {
            "model_name": "LinkModel",
            "state": {"source": ["IPY_MODEL_slider", "value"], "target": ["IPY_MODEL_stack", "i"]},
        },
        "orphan": {"model_name": "FloatProgressModel", "state": {}},
    }
    assert notebooks._reachable(states, {"box"}) == {"box", "slider", "stack", "link"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["book", "--profile", "huge"], "profile is 'huge', but must be one of: paper, quick, smoke"),
        (["book", "--seed", "-1"], "seed is -1, but must not be negative"),
        (["run", "77"], "notebook is '77', but must name one of: 01_"),
    ],
)
def test_bad_input_ends_in_one_sentence(arguments, sentence):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1


# ------------------------------------------------------------------ the built book

# index.html only forwards to the first page.
PAGES = [path for path in build.HTML.rglob("*.html") if "_static" not in path.parts and path.name != "index.html"]


@pytest.mark.book
@pytest.mark.skipif(not PAGES, reason="there is no built book: run 'make book' first")
class TestBuiltBook:
    def test_every_page_of_the_contents_is_there(self):
        toc = yaml.safe_load((build.BOOK / "_toc.yml").read_text())
        files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
        assert [name for name in [toc["root"], *files] if not (build.HTML / f"{name}.html").is_file()] == []

    def test_every_image_has_a_description(self):
        for page in PAGES:
            shown = re.sub(r"<script\b.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
            for image in re.findall(r"<img\b[^>]*>", shown):
                alt = re.search(r'\balt="([^"]*)"', image)
                assert alt and len(alt[1].split()) >= 2 and "_images" not in alt[1], (page.name, image[:200])

    def test_every_page_names_profile_seed_and_versions(self):
        names = [yaml.safe_load((build.BOOK / "_toc.yml").read_text())["root"]]
        names += [f"executed/{name}" for name in build.toc_notebooks()]
        for page in (build.HTML / f"{name}.html" for name in names):
            note = re.search(r'<p class="build-note">.*?</p>', page.read_text(encoding="utf-8"), re.DOTALL)
            assert note and all(word in note[0] for word in ("profile", "seed", "abtem", "torch")), page.name

    def test_executed_notebooks_hold_no_error(self):
        for name in build.toc_notebooks():
            for cell in code_cells(read(build.EXECUTED / f"{name}.ipynb")):
                assert all(output.output_type != "error" for output in cell.outputs), name

    def test_every_check_of_the_simulation_holds(self):
        cells = code_cells(read(build.EXECUTED / "12_how_right_how_fast.ipynb"))
        text = str([output.get("data") for cell in cells for output in cell.outputs])
        found = re.search(r"(\d+) of (\d+) checks hold", text)
        assert found and found[1] == found[2], found and text[found.start() : found.end() + 400]
