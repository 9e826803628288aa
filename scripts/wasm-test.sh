#!/usr/bin/env bash
# Runs the module in Node against releases that the native binaries make.
source "$(dirname "$0")/lib.sh"
cd "$REPO"
cargo build --workspace --locked --features assay-schema/json-schema,assay-server/crash-points --bins
ASSAY_BIN_DIR="$CARGO_TARGET_DIR/debug" node --test --test-reporter=tap wasm/tests/*.test.mjs
