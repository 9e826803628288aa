#!/usr/bin/env bash
# Figures, each beside what it is compared with in the same run.
#
#   BENCH_SIZE=8      GiB of the file that is published and pulled
#   BENCH_MODEL=2     GiB of the model that is verified
#   BENCH_ONLY=...    verify, stream, check, offline, wire, log, tree, or several with commas
#   BENCH_WIRE=...    models x releases of each, as in 10x10,100x10;10x100
#   BENCH_STRICT=1    end with an error if a figure misses its goal
#   BENCH_DIR=dir     where to work; needs about four times BENCH_SIZE
source "$(dirname "$0")/../scripts/lib.sh"
cd "$REPO"
scripts/setup.sh base
scripts/setup.sh python postgres bench
cargo build --release --locked -p assay-cli -p assay-server -p assay-client --bins --example log_throughput --example fill_namespace --example check_offline
exec "$PYTHON" bench/bench.py "$CARGO_TARGET_DIR/release"
