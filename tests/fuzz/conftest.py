"""The fuzzer is no test: it needs atheris, which only the extra ``fuzz`` installs."""

collect_ignore = ["fuzz_images.py"]
