"""The layout of the library: rooms in one order, each formula in one place, and the names that a newcomer looks for."""

import ast
import re
from pathlib import Path

import pytest

from nanoshape_lib.paths import ROOT

LIBRARY = ROOT / "nanoshape_lib"
FILES = sorted(LIBRARY.rglob("*.py"))
# A module imports from its own room and from those before it.
ROOMS = [
    ("errors", "paths"),
    ("particles",),
    ("simulation",),
    ("datasets",),
    ("networks",),
    ("figures",),
    ("trust",),
    ("micrographs",),
    ("studies",),
    ("widgets",),
    ("book",),
    ("cli",),
]
ORDER = {name: number for number, names in enumerate(ROOMS) for name in names}
WORDS = [
    "ctf|contrast_transfer",
    "exit_wave",
    "dose",
    "focal_spread",
    "icosahedron",
    "zone_axis",
    "confusion_matrix|confusion_matrices",
    "conformal_set|conformal",
    "ood_score|ood",
    "template_matching",
    "pixel_size",
    "report",
]
MODULES, LINES = 63, 13_100
"""The library may only get smaller; 60 modules and 12,000 lines are the aim."""


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported_rooms(path: Path):
    """Rooms that a file imports from, with the line of each import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}:{node.lineno} imports from a relative name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top == "nanoshape_lib" and rest.partition(".")[0] in ORDER:
                yield rest.partition(".")[0], node.lineno


def functions():
    """Every function of the library: its place, its name, its tree."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(LIBRARY)}:{node.name}", node.name, node


def called(tree):
    """Names of what is called in a tree: ``poisson`` for ``torch.poisson(...)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_the_rooms_are_twelve():
    found = {room(path) for path in FILES if path != LIBRARY / "__init__.py"}
    assert found == set(ORDER) and len(ROOMS) <= 12


def test_no_module_imports_from_a_later_room():
    upward = [
        f"{path.relative_to(LIBRARY)}:{line} imports {name}"
        for path in FILES
        if path != LIBRARY / "__init__.py"
        for name, line in imported_rooms(path)
        if ORDER[name] > ORDER[room(path)]
    ]
    assert upward == []


def test_the_modules_of_a_room_import_each_other_in_one_direction():
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES}
    known, graph = set(names.values()), {}
    for path, name in names.items():
        if path == LIBRARY / "__init__.py":
            continue
        wanted = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & known
        graph[name] = wanted - {name, "nanoshape_lib"}
    while free := {name for name, wanted in graph.items() if not wanted & set(graph)}:
        graph = {name: wanted for name, wanted in graph.items() if name not in free}
    assert graph == {}, "these import each other in a circle"


def test_the_library_gets_no_larger():
    assert len([path for path in FILES if path.name != "__init__.py"]) <= MODULES
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES) <= LINES


def test_camera_noise_is_drawn_and_waves_become_intensities_in_one_function_each():
    drawn = [found for found, _, tree in functions() if "poisson" in called(tree)]
    assert drawn == ["simulation/imaging.py:record"]
    assert [found for found, name, _ in functions() if re.search("intensity_spectrum|form_images", name)] == [
        "simulation/imaging.py:intensity_spectrum",
        "simulation/imaging.py:form_images",
    ]


def test_the_aberration_function_is_written_once():
    """Beside it only the explicit average over foci, its independent check, has a term of the spherical aberration."""
    terms = {
        found
        for found, _, tree in functions()
        for product in ast.walk(tree)
        if isinstance(product, ast.BinOp)
        for node in ast.walk(product)
        if isinstance(node, ast.Attribute) and node.attr == "Cs_A"
    }
    assert "simulation/optics.py:aberration_function" in terms
    others = {found for found in terms if not found.startswith("simulation/optics.py")}
    assert others <= {"simulation/validation.py:explicit_intensity"}


@pytest.mark.parametrize("word", WORDS)
def test_a_newcomers_word_names_a_file_or_a_function(word):
    pattern = re.compile(rf"(^|_)({word})s?(_|$)", re.IGNORECASE)
    names = [path.stem for path in FILES] + [name for _, name, _ in functions()]
    assert any(pattern.search(name) for name in names)
