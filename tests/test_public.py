"""The public interface: what the package exports, and that it costs nothing until it is used."""

import subprocess
import sys

import nanoshape_lib

# A name that goes away or changes its meaning breaks the notebooks and scripts of others: say so in the changelog.
PUBLIC = (
    "Camera Classifier DatasetDesign Microscope NanoshapeError Shape Store TrainingConfig "
    "analyse build build_model deposit evaluate exit_wave fit focal_series form_images generate load load_examples "
    "load_profile load_results load_weights make_images predict random_rotations write_report"
)


def test_the_public_names_are_these():
    assert " ".join(sorted(nanoshape_lib.__all__)) == PUBLIC
    assert set(nanoshape_lib.__all__) <= set(dir(nanoshape_lib))


def test_every_public_name_is_found_and_described():
    for name in nanoshape_lib.__all__:
        found = getattr(nanoshape_lib, name)
        assert found.__name__ == name and found.__doc__, name
        assert found.__module__.startswith("nanoshape_lib."), name


def test_the_package_itself_imports_neither_numpy_nor_torch():
    code = "import sys, nanoshape_lib; print(*sorted({'numpy', 'torch', 'pandas', 'pydantic'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
