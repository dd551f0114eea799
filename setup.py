"""The packages of the wheel: the library, and the shipped data and profiles, which a checkout keeps beside it."""

from setuptools import find_packages, setup

FOLDERS = {"nanoshape_lib.data": "data", "nanoshape_lib.profiles": "notebooks/profiles"}

setup(packages=[*find_packages(include=["nanoshape_lib*"]), *FOLDERS], package_dir=FOLDERS)
