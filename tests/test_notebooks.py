"""What the notebooks use of the library: public names, figures, studies and widgets, and other modules as a whole."""

import ast
import json

import pytest

import nanoshape_lib
from nanoshape_lib.paths import NOTEBOOKS, ROOT

# Beside the public names: what is drawn, what is computed for a page of the book, and what is turned by hand.
ROOMS = ("figures", "studies", "widgets")


def statements(path):
    """The syntax trees of the code cells of a notebook."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            lines = [line for line in "".join(cell["source"]).splitlines() if not line.startswith(("%", "!"))]
            yield from ast.walk(ast.parse("\n".join(lines)))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_imports_the_public_names_and_what_it_shows(path):
    others = []
    for node in statements(path):
        if isinstance(node, ast.Import):
            others += [alias.name for alias in node.names if alias.name.startswith("nanoshape_lib")]
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "nanoshape_lib":
            names = {alias.name for alias in node.names}
            if node.module == "nanoshape_lib":
                others += [name for name in names - set(nanoshape_lib.__all__) if name != "paths"]
            elif node.module.split(".")[1] in ROOMS:
                others += names & set(nanoshape_lib.__all__)
            else:
                folder = ROOT / node.module.replace(".", "/")
                others += [f"{node.module}.{name}" for name in names if not (folder / f"{name}.py").is_file()]
    assert others == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_uses_no_private_name(path):
    names = [node.attr for node in statements(path) if isinstance(node, ast.Attribute)]
    names += [alias.name for node in statements(path) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [name for name in names if name.startswith("_")] == []
