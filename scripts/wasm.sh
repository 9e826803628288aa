#!/usr/bin/env bash
# Builds the verifier for browsers (wasm/pkg/web) and Node (wasm/pkg/node), and prints its size.
source "$(dirname "$0")/lib.sh"
cd "$REPO"
scripts/setup.sh wasm

build=(cargo build --locked -p assay-wasm --profile wasm --target wasm32-unknown-unknown --lib)
if [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; then
    "${build[@]}"
else
    # Debian's compiler with its own standard library's source, linked by the toolchain's lld.
    lld="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld"
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C linker=$lld" "${build[@]}" -Zbuild-std=std,panic_abort
fi
module="$CARGO_TARGET_DIR/wasm32-unknown-unknown/wasm/assay_wasm.wasm"

rm -rf wasm/pkg
for target in nodejs web; do
    out="wasm/pkg/${target/nodejs/node}"
    wasm-bindgen --target "$target" --out-dir "$out" "$module"
done
# The repository's own package.json may say "module"; what wasm-bindgen writes for Node is CommonJS.
echo '{"type":"commonjs"}' > wasm/pkg/node/package.json
echo '{"type":"module"}' > wasm/pkg/web/package.json

opt="$CACHE/npm/node_modules/.bin/wasm-opt"
for file in wasm/pkg/*/assay_wasm_bg.wasm; do
    if [ -x "$opt" ]; then
        "$opt" -Oz --all-features "$file" -o "$file.small" && mv "$file.small" "$file"
    fi
done
file=wasm/pkg/web/assay_wasm_bg.wasm
printf 'wasm: %d KB, %d KB gzip\n' "$(($(wc -c <"$file") / 1000))" "$(($(gzip -9 -c "$file" | wc -c) / 1000))"
