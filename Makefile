# Each target sets up what it needs: a .venv with the locked dependencies. A second call starts at once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# One of them mostly waits for the whole system: three keep two cores busy.
JOBS ?= 3

# What `make lock` does with what is locked: upgrade it, or with `make lock UPGRADE=` add what is new and keep the rest.
UPGRADE ?= --upgrade
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q $(UPGRADE)

# Or each process that tests start would compile what was changed, and each worker the tests.
test coverage: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test coverage lint docs audit sbom fuzz bench templates lock clean

demo: $(READY)
	$(BIN)/dlcs demo $(ARGS)

test: $(READY)
	$(BIN)/pytest --numprocesses $(JOBS) $(ARGS)

# Of this process and its workers: services that tests start as processes of their own are not in it.
coverage: $(READY)
	mkdir -p .cache
	$(BIN)/pytest --numprocesses $(JOBS) --cov --cov-report=term --cov-report=html:.cache/coverage-html $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages of docs/ as a site, in .cache/site. A link or an anchor that leads nowhere fails. `make docs ARGS=serve` shows it.
docs: .cache/docs/.ready
	NO_MKDOCS_2_WARNING=1 .cache/docs/bin/mkdocs $(or $(ARGS),build) --strict

.cache/docs/.ready: requirements-docs.lock requirements-bootstrap.lock
	$(PYTHON) -m venv .cache/docs
	.cache/docs/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements-bootstrap.lock
	VIRTUAL_ENV=.cache/docs .cache/docs/bin/uv pip install --quiet --require-hashes --no-deps -r requirements-docs.lock
	touch .cache/docs/.ready

# Known vulnerabilities of all that is locked, as https://osv.dev has them. Installed apart: it brings much of its own.
audit: $(READY)
	$(BIN)/uv tool run --from pip-audit==2.10.1 pip-audit --disable-pip --require-hashes --vulnerability-service osv \
		-r requirements.lock

# Searches for bytes that a reader neither reads nor refuses: make fuzz ARGS="jp2 --seconds 600".
fuzz: $(READY) .cache/fuzz/.ready
	PYTHONPATH=.cache/fuzz $(BIN)/python -m dlcs_assets_tests.fuzz.guided $(ARGS)

.cache/fuzz/.ready: requirements-fuzz.lock $(READY)
	$(BIN)/uv pip install --quiet --require-hashes --no-deps --target .cache/fuzz -r requirements-fuzz.lock
	touch .cache/fuzz/.ready

# What the container image is made of, as CycloneDX, in .cache/sbom.json.
sbom: $(READY)
	mkdir -p .cache
	$(BIN)/uv pip compile --universal --python-version 3.11 -q --no-header --no-annotate --generate-hashes \
		-c requirements.lock pyproject.toml --extra aws -o .cache/shipped.txt
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements .cache/shipped.txt --pyproject pyproject.toml \
		--output-reproducible -o .cache/sbom.json

# The CloudFormation templates of deploy/aws, which are committed. Others: make templates ARGS="--size small --arrangement efs". Needs Node.
templates: .cache/templates/.ready
	JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=1 PYTHONPATH=deploy/aws .cache/templates/bin/python -m dlcs_aws $(ARGS)

.cache/templates/.ready: requirements-templates.lock $(READY)
	$(PYTHON) -m venv --without-pip .cache/templates
	VIRTUAL_ENV=.cache/templates $(BIN)/uv pip install --quiet --require-hashes --no-deps -r requirements-templates.lock
	touch .cache/templates/.ready

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

# Resolves the dependencies of pyproject.toml.
lock: $(READY)
	$(COMPILE) pyproject.toml --extra local --extra aws --group dev -o requirements.lock
	$(COMPILE) --group docs -c requirements.lock -o requirements-docs.lock
	$(COMPILE) --group templates -o requirements-templates.lock
	$(COMPILE) --group fuzz -c requirements.lock -o requirements-fuzz.lock

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
