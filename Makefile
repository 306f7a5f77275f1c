# Each target sets up what it needs: a .venv with the locked dependencies. A second call starts at once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# One of them mostly waits for the whole system: three keep two cores busy.
JOBS ?= 3

.PHONY: demo test lint audit bench lock clean

demo: $(READY)
	$(BIN)/dlcs demo $(ARGS)

test: $(READY)
	$(BIN)/pytest --numprocesses $(JOBS) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of all that is locked, as https://osv.dev has them. Installed apart: it brings much of its own.
audit: $(READY)
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --disable-pip --require-hashes --vulnerability-service osv \
		-r requirements.lock

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

# Resolves the dependencies of pyproject.toml anew.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra local --extra aws --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header -q --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .dlcs .cache

# Compiled, because a run is a process: where Python may write no bytecode (PYTHONDONTWRITEBYTECODE), each would compile
# all of Dagster.
$(READY): requirements.lock requirements-bootstrap.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements-bootstrap.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes --no-deps -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib dlcs_assets dlcs_stack
	touch $(READY)
