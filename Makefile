# Every target sets up what it needs in .venv, so that each works first on a fresh clone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DBT := $(BIN)/dbt
AAM := $(BIN)/aam
SIZE ?= medium
SQLFLUFF := PYTHONWARNINGS=ignore::UserWarning:multiprocessing.resource_tracker $(CURDIR)/$(BIN)/sqlfluff
STYLE := --config $(CURDIR)/.sqlfluff --disable-progress-bar --processes 2

# the demo's outbound destination: in a project of yours, vars of dbt_project.yml
BACK := --vars '{outbound: {e_mail_tool: {destination_id: 4411, master_dpid: 58342, output: back, separator: space}}}'
CUSTOMERS := select segment_name as segment, count(*) as customers from {{ ref('aam_onboard', 'customer_segments') }} group by segment_name order by segment_name

# what is started a thousand times need not be compiled each time, as it is nowhere else
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-spark soak lint format docs bench clean

demo: .venv/installed  ## the main job on DuckDB and a local directory, with the demo's data
	cd demo && ../$(DBT) deps --quiet
	cd demo && ../$(DBT) build --quiet --exclude-resource-type unit_test
	cd demo && ../$(AAM) plan
	cd demo && ../$(AAM) deliver
	@cd demo && echo "The files are:" && find out -type f | sort && echo && echo "The first lines of one:" && \
	zcat "$$(find out -name 'ftp_dpm_58342_*.sync.gz' | sort | tail -1)" | head -3
	@echo; echo "A local Audience Manager reads them:"
	cd demo && test -e .aam/sandbox || ../$(AAM) sandbox init
	cd demo && rm -rf .aam/inbox && cp -r out .aam/inbox && ../$(AAM) sandbox ingest --from .aam/inbox
	@cd demo && echo && echo "The receipt of one:" && sed '1,/^$$/d' "$$(grep -l 58342_58344 .aam/sandbox/receipts/* | tail -1)"
	cd demo && ../$(AAM) sandbox sizes --dpid 58342
	cd demo && ../$(AAM) sandbox export --mode full
	@cd demo && echo && echo "An outbound file's first lines:" && zcat "$$(ls -t .aam/sandbox/outbound/*.sync.gz | head -1)" | head -3
	@echo; echo "They come back as segments of your customers:"
	cd demo && ../$(AAM) receive $(BACK)
	cd demo && ../$(DBT) run --quiet --select aam_onboard.outbound $(BACK)
	cd demo && ../$(DBT) show --quiet --inline "$(CUSTOMERS)" $(BACK)
	@echo; cd demo && ../$(AAM) report

test: .venv/installed-dev  ## all tests: DuckDB, a real PostgreSQL, S3, SFTP and FTP servers, gpg
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-spark: .venv/installed-spark  ## what needs Spark and Java: a real cluster of this machine's, a real Spark Connect server
	$(BIN)/python -m pytest tests/spark/test_executors.py
	$(BIN)/python -m pytest tests/spark/test_conformance.py # a process knows Spark Connect or a driver of its own, not both

soak: .venv/installed-dev  ## random input and kills, AAM_SOAK (10) times as long, and what `test` tries on one engine of two
	AAM_SOAK=$${AAM_SOAK:-10} $(BIN)/python -m pytest -n 2 --dist loadgroup -m 'hypothesis or soak or one_engine'

lint: .venv/installed-dev build/lint  ## ruff, mypy and sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd demo && ../$(DBT) deps --quiet
	cd tests/project && ../../$(DBT) deps --quiet
	cd build/lint && $(SQLFLUFF) lint models tests $(STYLE)
	cd demo && $(SQLFLUFF) lint models $(STYLE)
	cd tests/project && $(SQLFLUFF) lint tests $(STYLE)

format: .venv/installed-dev build/lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd build/lint && $(SQLFLUFF) fix models tests $(STYLE)
	cd demo && $(SQLFLUFF) fix models $(STYLE)

# sqlfluff compiles with dbt, and dbt compiles a package's models only as a project of their own.
build/lint: dbt_project.yml tests/project/profiles.yml tests/project/.sqlfluff
	mkdir -p $@/tests
	ln -sfn ../../models ../../macros ../../tests/project/seeds $@
	ln -sfn ../../../tests/dbt $@/tests
	sed 's/^  feeds: {}/  feeds: {traits: {dpid: 58342, id_type: dpuuid, mode: sync}}/; s/^  outbound: {}/  outbound: {web: {destination_id: 4411}}/' dbt_project.yml > $@/dbt_project.yml
	echo "profile: package_tests" >> $@/dbt_project.yml
	cp tests/project/profiles.yml tests/project/.sqlfluff $@
	touch $@

docs: .venv/installed  ## the pages and schemas that are made from the code
	$(BIN)/python -m aam_onboard.schema docs

bench: .venv/installed-dev  ## SIZE=small|medium|large
	$(BIN)/python -m benchmarks --size $(SIZE)

clean:
	rm -rf .venv build dist demo/{out,target,logs,.aam,dbt_packages} demo/warehouse.duckdb* tests/project/{target,logs,dbt_packages}

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[report]'
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed $@

.venv/installed-spark: .venv/installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,spark]'
	touch $@
