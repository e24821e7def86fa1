# Two commands to begin with: `make demo` and `make test`. Everything is installed into .venv, nothing outside it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# make test-all: local servers, or others. A DATABASE_URL stands instead of the first two.
POSTGRES_URL ?= postgres://postgres@127.0.0.1:5432/wxpay
MYSQL_URL ?= mysql://root@127.0.0.1:3306/wxpay
REDIS_URL ?= redis://127.0.0.1:6379/0
WITHOUT_DATABASE := tests/client tests/sandbox tests/miniprogram tests/demo tests/docs tests/routers tests/typing \
	tests/test_architecture.py tests/test_conf.py tests/test_locale.py

.PHONY: help demo demo-check test test-all test-databases test-browser test-miniprogram check clean

help:
	@echo "make demo        an example shop with the WeChat Pay sandbox, in your browser"
	@echo "make test        all tests on SQLite"
	@echo "make demo-check  the demo's whole story without a person"
	@echo "make check       format, lint, types, migrations, system checks, package"
	@echo "make test-all    all tests on PostgreSQL and MariaDB with Redis, and in a browser"

# The virtual environment is made when it is missing or older than setup.cfg.
$(VENV)/.installed: setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	@touch $@

$(VENV)/.installed-all: $(VENV)/.installed
	@$(BIN)/python -m pip install -qq --editable '.[dev,postgres,mysql,e2e]' || { \
	  echo "mysqlclient is compiled here: it needs a C compiler, pkg-config and MariaDB's headers" \
	    "(Debian: apt-get install gcc pkg-config libmariadb-dev)."; exit 1; }
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/python -m example_project.demo

demo-check: $(VENV)/.installed
	$(BIN)/python -m example_project.demo_check

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

test-all: test-databases test-browser

# What needs no database, or one of its own, was tested by `make test`.
test-databases: $(VENV)/.installed-all
ifdef DATABASE_URL
	REDIS_URL=$(REDIS_URL) $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(WITHOUT_DATABASE:%=--ignore=%)
else
	DATABASE_URL=$(POSTGRES_URL) REDIS_URL=$(REDIS_URL) $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(WITHOUT_DATABASE:%=--ignore=%)
	DATABASE_URL=$(MYSQL_URL) REDIS_URL=$(REDIS_URL) $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(WITHOUT_DATABASE:%=--ignore=%)
endif

# A run of its own: Playwright keeps an event loop in the thread of the tests.
test-browser: $(VENV)/.installed-all
	$(BIN)/python -m pytest -q tests/e2e

# Part of `make test`. Without a node on this machine, that of the type checker runs it.
test-miniprogram: $(VENV)/.installed
	$(BIN)/python -m pytest -q tests/miniprogram

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/python -m django makemigrations --check --dry-run --settings tests.settings
	$(BIN)/python -m django check --settings tests.settings
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check
	rm -rf dist
	@mkdir -p var dist
	$(BIN)/python -m build --outdir dist . > var/build.log 2>&1 || { cat var/build.log; exit 1; }
	$(BIN)/python .ci/check_wheel.py dist/*.whl

clean:
	rm -rf build dist var *.egg-info .mypy_cache .pytest_cache .ruff_cache
