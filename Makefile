# Every target sets up what it needs in .venv, so that each works first on a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DBT := $(BIN)/dbt
AAM := $(BIN)/aam
SIZE ?= medium

.PHONY: demo test lint format bench clean

demo: .venv/installed  ## the main job on DuckDB and a local directory, with the demo's data
	$(DBT) seed --quiet --vars 'demo: true'
	$(DBT) build --quiet --exclude-resource-type unit_test
	$(AAM) plan
	$(AAM) deliver
	@echo "The files are:"; find out -type f | sort
	@echo; echo "The first lines of one:"; \
	zcat "$$(find out -name 'ftp_dpm_58342_*.sync.gz' | sort | tail -1)" | head -3

test: .venv/installed-dev  ## all tests: DuckDB, a real PostgreSQL, S3, SFTP and FTP servers, gpg
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: .venv/installed-dev  ## ruff, mypy and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint models tests/dbt --disable-progress-bar --processes 2

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix models tests/dbt

bench: .venv/installed-dev  ## SIZE=small|medium|large
	$(BIN)/python -m benchmarks --size $(SIZE)

clean:
	rm -rf .venv out target logs .aam warehouse.duckdb*

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed $@
