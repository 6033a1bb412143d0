# make demo    the main job on synthesised speech: train, enhance, score (about 10 minutes)
# make test    style, which wing may import which, and the tests
# make install what both need, into .venv; they do it by themselves
# make lock    renew constraints/lock.txt
# make clean   remove .venv and caches; data, dumps and experiments of recipes stay
#
# PYTHON=/path/to/python picks the interpreter, VENV=folder the environment,
# PYTEST_ARGS="-k pcs" a part of the tests.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := install
.PHONY: install demo test lock clean

VENV ?= .venv
PYTHON ?=
PYTEST_ARGS ?=

install:
	@local/install.sh "$(VENV)" $(PYTHON)

demo: install
	@PATH="$(abspath $(VENV))/bin:$$PATH" egs2/mini/enh1/run.sh --stop_stage 8; \
	  echo "make demo: $$((SECONDS / 60)) min $$((SECONDS % 60)) s"

test: install
	"$(VENV)/bin/ruff" check --quiet
	"$(VENV)/bin/ruff" format --check --quiet
	"$(VENV)/bin/lint-imports" --no-cache --no-logo
	"$(VENV)/bin/python" -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

# Without annotations and header, which would carry this machine's package index.
lock: install
	@{ sed '/^[^#]/,$$d' constraints/lock.txt; \
	  PATH="$(abspath $(VENV))/bin:$$PATH" uv pip compile setup.py --all-extras --universal \
	    --upgrade --python-version 3.10 --no-header --no-annotate --quiet; \
	} >constraints/lock.txt.new
	@mv constraints/lock.txt.new constraints/lock.txt

clean:
	rm -rf "$(VENV)" "$(VENV)".cache.* "$(VENV)".uv "$(VENV)".zig build *.egg-info .pytest_cache .ruff_cache
	find espnet2_bspmpnet tests -name __pycache__ -type d -prune -exec rm -rf {} +
