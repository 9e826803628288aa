#!/usr/bin/env bash
# Gets what the build and the tests need: scripts/setup.sh PART...
#
#   base      git, make, a C compiler, cargo, python3 with pip, node: asked for, not installed
#   nextest   the test runner
#   python    a virtual environment with the tools that ours must work with
#   wasm      the wasm32 target and wasm-bindgen's command
#   postgres  PostgreSQL's server, for the tests of the database layer
#   softhsm   SoftHSM 2 and OpenSC's pkcs11-tool, for the tests of keys in tokens
#   faketime  libfaketime, for tests with a wrong clock (optional)
#   bench     openssl, to compare with
source "$(dirname "$0")/lib.sh"
mkdir -p "$CACHE"

# Installs a command with cargo, into the cache folder. Its own lock file may name a version that this machine's registry does not
# carry (mirrors lag, versions are yanked): then cargo chooses.
cargo_install() {
    say "installing $1 (some minutes, once)"
    local install=(env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --root "$TOOLS" "$@")
    "${install[@]}" --locked 2>"$CACHE/install.log" || "${install[@]}" || {
        cat "$CACHE/install.log" >&2
        die "cargo could not install $1"
    }
}

base() {
    local missing=()
    have git || missing+=("git: apt-get install git")
    have make || missing+=("make: apt-get install make")
    have cc || missing+=("a C compiler: apt-get install gcc libc6-dev")
    have cargo || missing+=("cargo: see https://rustup.rs")
    if ! have python3; then missing+=("python3: apt-get install python3 python3-pip")
    elif ! python3 -m pip --version >/dev/null 2>&1; then missing+=("pip: apt-get install python3-pip"); fi
    if ! have node; then missing+=("node 18 or later: apt-get install nodejs npm")
    elif ! node -e 'process.exit(parseInt(process.versions.node, 10) < 18 ? 1 : 0)'; then
        missing+=("node 18 or later, found $(node --version): see https://nodejs.org"); fi
    if [ "${#missing[@]}" -gt 0 ]; then
        printf '\033[1;31merror:\033[0m this machine lacks\n' >&2
        printf '  %s\n' "${missing[@]}" >&2
        exit 1
    fi
}

nextest() {
    cargo nextest --version >/dev/null 2>&1 || cargo_install cargo-nextest --version 0.9.143
}

python() {
    local wanted="$REPO/scripts/requirements.txt" stamp="$VENV/.requirements"
    cmp -s "$wanted" "$stamp" 2>/dev/null && return
    say "making a Python environment in $VENV"
    mkdir -p "$CACHE"
    rm -rf "$VENV"
    # Debian splits ensurepip off into python3-venv; the system's pip can fill an environment without it.
    if python3 -m venv "$VENV" >/dev/null 2>&1; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    else
        rm -rf "$VENV"
        python3 -m venv --without-pip "$VENV"
        python3 -m pip --python "$PYTHON" install --quiet --disable-pip-version-check -r "$wanted"
    fi
    cp "$wanted" "$stamp"
}

# Whether the pinned toolchain has a standard library for wasm32.
rustup_wasm() { [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; }

wasm() {
    if ! rustup_wasm; then
        say "adding the wasm32 target"
        { have rustup && rustup target add wasm32-unknown-unknown && rustup_wasm; } ||
            debian_wasm ||
            die "no standard library for wasm32: neither 'rustup target add wasm32-unknown-unknown' nor Debian's rustc-web rust-web-src rust-web-llvm could be had"
    fi
    local version
    version="$(locked_version wasm-bindgen)"
    case "$(wasm-bindgen --version 2>/dev/null)" in
        "wasm-bindgen $version") ;;
        *) cargo_install wasm-bindgen-cli --version "$version" ;;
    esac
    # wasm-opt makes the module smaller; without it the build is only larger.
    if ! [ -e "$CACHE/npm/node_modules/.bin/wasm-opt" ] && have npm; then
        npm install --silent --no-fund --no-audit --prefix "$CACHE/npm" binaryen@132.0.0 >/dev/null 2>&1 ||
            note "npm could not get binaryen: the module stays unoptimised"
    fi
}

debian_wasm() {
    [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust/library ] && return
    apt_install rustc-web rust-web-src rust-web-llvm
}

postgres() {
    ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 || have initdb || apt_install postgresql ||
        die "PostgreSQL's server is missing, and its tests with it: apt-get install postgresql"
}

softhsm() {
    { have softhsm2-util && have pkcs11-tool; } || apt_install softhsm2 opensc ||
        die "SoftHSM 2 or OpenSC is missing, and the tests of keys in tokens with it: apt-get install softhsm2 opensc"
}

# Tests that need another clock are skipped without it.
faketime() {
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || apt_install libfaketime ||
        note "libfaketime is not here: tests with a wrong clock are skipped"
}

bench() {
    have openssl || apt_install openssl || die "openssl is missing: apt-get install openssl"
}

for part in "$@"; do "$part"; done
