# The two commands: `make demo` and `make test`. Both do all the set-up; Python >= 3.10 is enough.

PYTHON ?= python3
BIN := .venv/bin

# How many processes run tests side by side: two for each core, since tests wait much of the time.
WORKERS ?= auto
# A file's tests share its servers, so one process runs them all. A test that ends its process does so
# again if that was no accident, so it is not tried often.
SIDE_BY_SIDE = -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 2
# What has failed side by side runs once more by itself: real servers on a busy machine may take
# longer than a test waits. Both results are printed.
# The second argument is of the second run alone.
define side_by_side
$(1) $(SIDE_BY_SIDE) || $(1) --last-failed --last-failed-no-failures none $(2)
endef
FOR_OLDEST := tests/unit tests/wire tests/integration tests/conformance

# Where `go install` puts programs, too.
JAEGER ?= $(HOME)/go/bin/jaeger
JAEGER_MODULE := github.com/jaegertracing/jaeger@v1.76.0

OTELCOL ?= $(HOME)/go/bin/otelcol
OTELCOL_BUILDER := go.opentelemetry.io/collector/cmd/builder@v0.150.0

.PHONY: help demo jaeger jaeger-binary otelcol-binary test test-newest test-oldest test-recipes lint types docs bench soak release-check clean

help:
	@echo 'make demo    run the instrumented example on a real MongoDB; show its traces and metrics'
	@echo 'make jaeger  run a web shop through a failover, with its traces in a real Jaeger'
	@echo 'make jaeger-binary  build that Jaeger; needs Go and some ten minutes, once'
	@echo 'make otelcol-binary  build a Collector for the tests of the recipes; needs Go and some minutes, once'
	@echo 'make test    run all tests, on the newest and the oldest PyMongo and OpenTelemetry'
	@echo 'make test-recipes  run the recipes of docs/recipes, with the frameworks that they need'
	@echo 'make lint    run the linter and the formatter, as a check'
	@echo 'make types   run the type checkers: mypy and, where node is, pyright'
	@echo 'make docs    build the documentation as a site, in site/'
	@echo 'make soak    run everything at once for half an hour; lose nothing, leak nothing'
	@echo 'make bench   measure what a command costs'
	@echo 'make release-check  build the sdist and the wheel in dist/, and check what is in them'
	@echo 'make clean   remove the virtual environment and what tools left behind'

demo: .venv/installed
	$(BIN)/python examples/demo.py
	@if [ -z "$$MONGODB_URI" ]; then $(BIN)/python examples/failover; \
	else echo 'The failover demo needs servers of its own; unset MONGODB_URI to see it.'; fi
	$(BIN)/python examples/demo.py slow_query

jaeger: .venv/installed
	$(BIN)/python examples/jaeger/local.py

jaeger-binary: $(JAEGER)

# Not with `go install`, which wants no module whose go.mod replaces another.
$(JAEGER):
	mkdir -p $(@D)
	module=$$(go mod download -json $(JAEGER_MODULE) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	cd "$$module" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $@ ./cmd/jaeger

otelcol-binary: $(OTELCOL)

$(OTELCOL): tests/otelcol.yaml
	mkdir -p $(@D)
	build=$$(mktemp -d) && sed "1,/^dist:/s|^dist:|&\n  output_path: $$build|" $< >"$$build/builder.yaml" && \
	CGO_ENABLED=0 go run $(OTELCOL_BUILDER) --config="$$build/builder.yaml" && \
	mv "$$build/otelcol" $@ && rm -r "$$build"

# A failure in one does not hide those of the others.
test:
	@status=0; for each in newest oldest recipes; do $(MAKE) test-$$each || status=1; done; exit $$status

# The last step, of tests that cannot share the machine, adds its coverage to that of the others.
QUIET_COVERAGE = --cov --cov-report= --cov-fail-under=0
test-newest: .venv/installed
	@status=0; \
	$(call side_by_side,$(BIN)/pytest -m 'not alone' $(QUIET_COVERAGE),--cov-append) || status=1; \
	$(BIN)/pytest -m alone --cov --cov-append --cov-report=term || status=1; \
	exit $$status

test-oldest: .venv-oldest/installed
	@status=0; \
	$(call side_by_side,.venv-oldest/bin/pytest $(FOR_OLDEST) -m 'not alone and not slow') || status=1; \
	.venv-oldest/bin/pytest $(FOR_OLDEST) -m 'alone and not slow' || status=1; \
	exit $$status

test-recipes: .venv-recipes/installed
	$(call side_by_side,.venv-recipes/bin/pytest tests/recipes)

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed
	$(BIN)/mypy
	@if command -v node >/dev/null; then $(BIN)/pyright --pythonpath $(BIN)/python; \
	else echo 'No node here, so no pyright.'; fi

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

soak: .venv/installed
	PYTHONMALLOC=malloc $(BIN)/python tests/soak/soak.py --minutes 30 --workers 16

bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/pytest benchmarks --override-ini timeout=0 --benchmark-quiet

release-check: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	DIST=dist $(BIN)/pytest tests/e2e/test_packaging.py

clean:
	rm -rf .venv .venv-oldest .venv-recipes .nox .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* dist site

.venv/installed: pyproject.toml
	$(call install,.venv,--group dev)

.venv-oldest/installed: pyproject.toml tests/oldest.txt
	$(call install,.venv-oldest,--group test --constraint tests/oldest.txt)

.venv-recipes/installed: pyproject.toml
	$(call install,.venv-recipes,--group recipes)

define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo 'Python 3.10 or newer is needed: make PYTHON=python3.12 ...'; exit 1; }
$(PYTHON) -m venv $(1)
$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
$(1)/bin/python -m pip install --quiet $(2) --editable .
@touch $@
endef
