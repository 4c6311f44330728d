# `make` lists what can be made. Everything runs in .venv, which the first target to need it sets up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := runs
# For `make gpu`: two bases, two files of rows, where and how many.
ENCODER ?= models/minilm-l6
DECODER ?= models/smollm2-135m
TRAIN ?= runs/reuters/train.jsonl
TEST ?= runs/reuters/test.jsonl
DEVICE ?= cuda
ROWS ?= 512
ROOMS := $(patsubst %/__init__.py,%,$(filter-out unskew/%,$(wildcard */__init__.py)))
# Models as small as these lose more to threads that wait for each other than they gain by them.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit coverage gpu docs format clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/installed ## make a synthetic corpus, fit both stages on it, predict and evaluate
	$(BIN)/unskew newsroom --output $(RUNS)/newsroom --overwrite
	$(BIN)/unskew fit --config configs/demo.yaml --output $(RUNS)/demo --overwrite
	$(BIN)/unskew predict --model $(RUNS)/demo --input $(RUNS)/newsroom/test_natural.jsonl --limit 200 \
		--output $(RUNS)/predictions.jsonl --overwrite
	$(BIN)/unskew evaluate --model $(RUNS)/demo --input $(RUNS)/newsroom/test.jsonl --train $(RUNS)/newsroom/train.jsonl \
		--newsroom $(RUNS)/newsroom/newsroom.json --output $(RUNS)/evaluation --overwrite

test: lint types docs unit ## everything that CI runs

lint: $(VENV)/installed ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed ## basedpyright, over tests and benchmarks too
	mkdir -p build/types/unskew
	ln -sfn $(addprefix $(CURDIR)/,$(ROOMS) $(wildcard unskew/*.py*)) build/types/unskew
	$(BIN)/basedpyright

unit: $(VENV)/installed ## every test, on up to four cores
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

gpu: ## all GPU measurements in nine minutes, with the system's Python (rehearsal: make gpu DEVICE=cpu ROWS=8)
	$(PYTHON) benchmarks/gpu.py --encoder $(ENCODER) --decoder $(DECODER) --train $(TRAIN) --test $(TEST) \
		--device $(DEVICE) --rows $(ROWS) --output $(RUNS)/gpu

coverage: $(VENV)/installed ## every test, and the lines that no test runs
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov --cov-report term:skip-covered

docs: $(VENV)/installed ## the documentation site, into build/docs; any warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs

format: $(VENV)/installed ## fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and what runs wrote
	rm -rf $(VENV) $(RUNS) build *.egg-info
