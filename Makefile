# make test   everything that CI runs
# make demo   a real model through the whole chain, and a refusal
# make bench  figures, beside the tools that they are compared with
#
# Each step of `make test` is a target of its own; `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CACHE := $(or $(ASSAY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/assay)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
export PATH := $(CACHE)/tools/bin:$(PATH)

# One set of packages and features for every step, so that nothing is compiled twice.
ALL := --workspace --locked --features assay-schema/json-schema,assay-server/crash-points
PYTEST := $(CACHE)/venv/bin/python -m pytest -q -p no:cacheprovider

.PHONY: help build test demo bench fuzz fmt-check clippy doc nextest doctest schema bless wasm wasm-test tree-check e2e interop clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## the binaries, for daily use
	cargo build --release --locked -p assay-cli -p assay-server
	@echo "$(CARGO_TARGET_DIR)/release/assay"
	@echo "$(CARGO_TARGET_DIR)/release/assay-server"

test: ## everything that CI runs
	@scripts/test.sh

demo: ## publish, pull, tamper, refuse, with a real model (MODEL=dir, DEMO_EXIT=1)
	@scripts/demo.sh

bench: ## figures beside their peers (BENCH_SIZE=GiB for the large file, BENCH_ONLY=verify|stream|check|offline|wire|log|tree)
	@bench/run.sh

fuzz: ## every parser of strangers' bytes, for FUZZ_SECONDS (300) together (FUZZ_SEED=number, FUZZ_OF="schema log/note")
	cargo build $(ALL) --bins
	"$(CARGO_TARGET_DIR)/debug/assay-fuzz" run --seconds $(or $(FUZZ_SECONDS),300) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED)) --folder "$(CARGO_TARGET_DIR)/fuzz" $(FUZZ_OF)

fmt-check: ## formatting
	cargo fmt --all --check

clippy: ## lints, as errors
	cargo clippy $(ALL) --all-targets -- -D warnings

doc: ## documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc $(ALL) --no-deps --document-private-items

nextest: ## all Rust tests
	@scripts/setup.sh nextest postgres softhsm
	cargo nextest run $(ALL) --no-fail-fast

doctest: ## examples in the documentation
	cargo test $(ALL) --doc --quiet

schema: ## JSON Schemas and vectors against the code
	@scripts/setup.sh nextest
	cargo nextest run $(ALL) -E 'package(assay-schema)'

bless: ## write the JSON Schemas and the OpenAPI document anew
	@scripts/setup.sh nextest
	ASSAY_BLESS=1 cargo nextest run $(ALL) -E 'test(/json_schemas|openapi/)'

wasm: ## the verifier for browsers and Node
	@scripts/wasm.sh

wasm-test: wasm ## the module against releases of the native publisher
	@scripts/wasm-test.sh

tree-check: ## what the verifier must never depend on
	@scripts/tree-check.sh

e2e: ## the real binaries over loopback
	@scripts/setup.sh python faketime
	cargo build $(ALL) --bins
	$(PYTEST) tests --ignore tests/interop

interop: ## other implementations against ours
	@scripts/setup.sh python
	cargo build $(ALL) --bins
	$(PYTEST) tests/interop

clean: ## remove what was built
	cargo clean
	rm -rf wasm/pkg
