# Two commands do all: `make demo` and `make test`. Both build .venv on first use.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One build of ONNX Runtime: the GPU one where an NVIDIA driver answers, else the CPU one.
ORT    := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# ROOMS: what gatescope needs. STAMP: and what its tests and checks need.
ROOMS  := $(VENV)/.installed-$(ORT)
STAMP  := $(ROOMS)-dev
INSTALL = $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --disable-pip-version-check -q -c constraints.txt
# Two workers, each begins with one half of the tests in order, so that neighbours share what they export.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations=15 -rs

# What the benchmarks are given: --output FILE (JSON), --cache DIR (keeps exported files), --rounds N.
BENCH_ARGS ?=
BENCH  := $(BIN)/python -m tests.benchmarks
TORTURE_ARGS ?=
CONDITIONS ?=
MATRIX_ARGS ?=
GALLERY ?=

.PHONY: demo test quick check format clean setup bench bench-rewrites bench-precision bench-cuda bench-smoke torture conditions matrix docs gallery

setup: $(STAMP)

$(ROOMS): pyproject.toml constraints.txt
	$(INSTALL) -e '.[all,$(ORT)]'
	touch $@

$(STAMP): pyproject.toml constraints.txt
	$(INSTALL) -e '.[all,$(ORT),dev]'
	touch $(ROOMS) $@

demo: $(ROOMS)  ## export, run and analyse a model and data it makes itself; prints where the report is
	$(BIN)/gatescope demo --output demo

test: $(STAMP) check  ## everything CI runs
	$(PYTEST)
	$(MAKE) bench-smoke

quick: $(STAMP)  ## the tests that take no more than seconds
	$(PYTEST) -m "not slow"

conditions: $(STAMP)  ## the suite as on other machines: older CPUs, one core, a busy one, not root. CONDITIONS: names
	$(BIN)/python -m tests.conditions $(CONDITIONS)

check: $(STAMP)  ## lint, formatting, strict types; the import and layout tests are part of pytest too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/test_layout.py

bench: $(STAMP)  ## every goal of speed against what users could do instead; the machine must be idle
	$(BENCH) goals $(BENCH_ARGS)

bench-rewrites: $(STAMP)  ## what each rewrite of the export gains
	$(BENCH) rewrites $(BENCH_ARGS)

bench-precision: $(STAMP)  ## int8 and bfloat16 on the CPU: speed, gate error, and whether that is worth it
	$(BENCH) precision $(BENCH_ARGS)

bench-cuda: $(STAMP)  ## parity, throughput and floors on a GPU
	$(BENCH) cuda $(BENCH_ARGS)

bench-smoke: $(STAMP)  ## the benchmarks at tiny sizes, so that they cannot rot; part of `make test`
	$(BENCH) goals rewrites precision --smoke

torture: $(STAMP)  ## every promise of the monitor at full size; about an hour. TORTURE_ARGS: names, --short, --output
	$(BIN)/python -m tests.torture $(TORTURE_ARGS)

matrix: $(STAMP)  ## export, run and verify under every release of torch; builds 5 GB each. MATRIX_ARGS: --only, --python
	$(BIN)/python -m tests.matrix $(MATRIX_ARGS)

docs: $(STAMP)  ## the generated pages of docs/: the command reference in both languages, schemas, tables
	$(BIN)/python -m tests.documents

gallery: $(STAMP)  ## the pictures of docs/gallery/, from a demo made for them; three minutes. GALLERY: a full demo's folder
	$(BIN)/python -m tests.documents.gallery $(GALLERY)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo build *.egg-info
