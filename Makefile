# make demo: compile and run a ResNet-50. make test: everything. make quick: the quick tests.
# The environment is made once in .venv and again only when a file it depends on changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PACKAGES := -e 'core[compiler]' -e plugins/frontend-onnx -e plugins/backend-llvm
PLUGINS := $(patsubst %/pyproject.toml,-e %,$(wildcard plugins/*/pyproject.toml))
NATIVE := $(wildcard plugins/backend-llvm/src/iree_backend_llvm/native/*)
DESCRIPTIONS := $(wildcard core/pyproject.toml plugins/*/pyproject.toml plugins/*/setup.py)
SOURCES := core/src $(wildcard plugins/*/src)

.PHONY: demo test quick corpora lint system clean

demo: $(VENV)/.demo
	@$(BIN)/python demo/resnet50.py

test: lint system
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not corpus'

corpora: system $(VENV)/.tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m corpus

quick: lint system
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not corpus'

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)

system:
	@tools/install-system-packages.sh

$(VENV)/.packages: $(DESCRIPTIONS) $(NATIVE)
	@echo "Installing iree-core, iree-frontend-onnx and iree-backend-llvm into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(PACKAGES)
	@touch $@

$(VENV)/.demo: $(VENV)/.packages requirements-test.txt
	@$(PIP) "$$(grep ^onnxruntime= requirements-test.txt)"  # to compare results with
	@touch $@

$(VENV)/.tests: $(VENV)/.packages requirements-test.txt
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) -r requirements-test.txt $(PLUGINS)
	@touch $@

clean:
	rm -rf $(VENV) .cache
