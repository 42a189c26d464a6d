# Build, demo and tests. CMake does the building: this file adds the set-up and the names of the usual jobs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Debian's tools before others of the same names (a cmake or ninja from pip, a python3 from pyenv).
export PATH := /usr/bin:/bin:$(PATH)

JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
OUT ?= out/demo
INPUT ?= normal:2^18
BENCH ?=
FIGURE ?=
PYTHON := PYTHONPATH=build/release/python .venv/bin/python

.PHONY: help
help: ## this list
	@printf 'make TARGET, where TARGET is one of\n\n'
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

.PHONY: setup
setup: ## install what is missing: Debian packages, .venv
	@tools/setup.sh

.PHONY: setup-test
setup-test:
	@tools/setup.sh test

.PHONY: data
data: ## install the data sets, and list their files
	@tools/setup.sh data

.PHONY: insteval
insteval: ## unpack InstEval, ratings for regression, from R's package lme4 into build/data (no root)
	@tools/setup.sh insteval

.PHONY: build
build: setup ## set up and compile: build/release/fewbits, and the Python package in build/release/python
	@tools/build.sh release $(JOBS) fewbits_program fewbits_core

.PHONY: demo
demo: build ## federated averaging on Fashion-MNIST, several plans side by side: a table, pictures and a report in out/demo
	build/release/fewbits train --config demo.toml --out $(OUT) --force
	$(PYTHON) -m fewbits.plot $(OUT)
	$(PYTHON) -m fewbits report $(OUT)

.PHONY: figures
figures: build ## the literature's figures and ours, an hour or so: docs/results.md (FIGURE="links text": only these)
	$(PYTHON) figures/figures.py build/release/fewbits --docs docs $(FIGURE)
	$(PYTHON) -m fewbits report out/figures

.PHONY: frontier
frontier: build ## error against rate of all plans on INPUT (normal:2^18): figures and a picture in out/frontier
	@mkdir -p out/frontier
	build/release/fewbits measure --frontier --json $(INPUT) >out/frontier/frontier.json
	$(PYTHON) -m fewbits.frontier out/frontier/frontier.json

.PHONY: bench
bench: setup ## speed beside memory's and other libraries': out/bench (BENCH=--quick, BENCH='--benchmark_filter=trellis', ...)
	@tools/setup.sh bench
	@tools/build.sh bench $(JOBS) fewbits_bench
	@mkdir -p out/bench
	build/bench/bench/fewbits_bench --json out/bench/bench.json $(BENCH)
	.venv/bin/python python/fewbits/bench.py --numpy out/bench/bench.json

.PHONY: binding
binding: build ## what Python adds to an encode in C++
	$(PYTHON) bench/binding.py

.PHONY: peers
peers: build ## other libraries' codecs beside fewbits, by rate: installs them into build/peers, writes docs/peers.md
	.venv/bin/python bench/peers.py build/release

.PHONY: test
test: setup-test ## all tests: release, sanitizers, fuzzers, installed package
	@tools/test.sh $(JOBS) release asan fuzz

.PHONY: test-all
test-all: setup-test ## the same in their long versions
	@FEWBITS_LONG_TESTS=1 tools/test.sh $(JOBS) release asan fuzz

.PHONY: asan
asan: setup ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/test.sh $(JOBS) asan

.PHONY: fuzz
fuzz: setup ## the fuzzers, each for 20 seconds (FEWBITS_LONG_TESTS=1: 10 minutes)
	@tools/test.sh $(JOBS) fuzz

.PHONY: install
install: build ## install library, headers and program under PREFIX (/usr/local)
	cmake --install build/release --prefix $(PREFIX)

.PHONY: clean
clean: ## remove what was built; out/ and .venv stay
	rm -rf build
