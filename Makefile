# make book | test | test-all | lab | lint | clean      PROFILE=quick  SEED=0  PYTHON=python3  SELECT="slow and not book"
# The first call makes .venv from requirements.lock; an active environment that satisfies it is used as it is.

PYTHON  ?= python3
PROFILE ?= quick
SEED    ?= 0

EXPLICIT := $(if $(filter file default undefined,$(origin PYTHON)),,--explicit)

# Which tests make test runs, on one process for each core, as far as memory lasts.
SELECT ?= not slow and not book
SPREAD := -n logical --maxprocesses 8 --dist worksteal

# Sets $$py to the interpreter of an environment that is up to date, or stops with one sentence.
define environment
command -v $(PYTHON) >/dev/null || { echo "Error: PYTHON is $(PYTHON), but no such program is on the PATH." >&2; exit 1; }; \
py=$$($(PYTHON) .ci/environment.py $(EXPLICIT)) || exit 1
endef

.PHONY: help book test test-all lab lint clean
.SILENT:

help:
	echo "make book      execute the notebooks and render book/_build/html (PROFILE=smoke|quick|paper, SEED=0)"
	echo "make test      run the tests that take minutes, on all cores"
	echo "make test-all  run the slow tests as well, and those of the book if it was made"
	echo "make lab       open the explorers (notebook 09) in JupyterLab"
	echo "make lint      check style and types"
	echo "make clean     remove what the book made (generated images, trained networks, pages); .venv stays"

book:
	test -f "notebooks/profiles/$(PROFILE).yml" || { echo "Error: PROFILE is '$(PROFILE)', but must be one of:" \
	    $$(cd notebooks/profiles && ls | sed -n 's/\.yml$$//p' | paste -sd, -) >&2; exit 1; }
	$(environment); $$py -m nanoshape_lib.cli book --profile "$(PROFILE)" --seed "$(SEED)"

test:
	$(environment); $$py -m pytest $(SPREAD) -m "$(SELECT)"

test-all:
	$(environment); $$py -m pytest $(SPREAD)

lab:
	$(environment); $$py -m jupyter lab notebooks/09_explore.ipynb

lint:
	$(environment); $$py -m ruff check . && $$py -m ruff format --check . && $$py -m mypy nanoshape_lib

clean:
	rm -rf build book/_build book/executed book/_vendor data/generated
