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
    wasm-bindgen --target "$target" --remove-name-section --remove-producers-section --out-dir "$out" "$module"
done
# What wasm-bindgen writes for Node is CommonJS, for the web a module; say so whatever a folder above says.
echo '{"type":"commonjs"}' > wasm/pkg/node/package.json
echo '{"type":"module"}' > wasm/pkg/web/package.json

web=wasm/pkg/web/assay_wasm_bg.wasm
node=wasm/pkg/node/assay_wasm_bg.wasm
same=false
cmp -s "$web" "$node" && same=true
opt="$CACHE/npm/node_modules/.bin/wasm-opt"
if [ -x "$opt" ]; then
    # Optimising takes longer than building: once for both, and not again for a module that was optimised before.
    digest="$(cat "$web" "$node" | sha256sum | cut -c1-32)"
    kept="$CACHE/wasm-opt/$digest"
    if ! [ -d "$kept" ]; then
        mkdir -p "$CACHE/wasm-opt"
        rm -rf "$CACHE"/wasm-opt/*
        mkdir "$kept.new"
        "$opt" -Oz "$web" -o "$kept.new/web"
        if $same; then cp "$kept.new/web" "$kept.new/node"; else "$opt" -Oz "$node" -o "$kept.new/node"; fi
        mv "$kept.new" "$kept"
    fi
    cp "$kept/web" "$web"
    cp "$kept/node" "$node"
fi
printf 'wasm: %d KB, %d KB gzip\n' "$(($(wc -c <"$web") / 1000))" "$(($(gzip -9 -c "$web" | wc -c) / 1000))"
