# Sourced by the other scripts: where things are kept, how to speak, how to install.
# shellcheck shell=bash
set -euo pipefail

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="${ASSAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/assay}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$CACHE/target}"
TOOLS="$CACHE/tools"
VENV="$CACHE/venv"
PYTHON="$VENV/bin/python"
export PATH="$TOOLS/bin:$PATH"

say()  { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
die()  { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Installs Debian packages where apt-get is there and we may use it; says how otherwise.
apt_install() {
    local sudo=()
    have apt-get || return 1
    if [ "$(id -u)" != 0 ]; then
        have sudo && sudo -n true 2>/dev/null || return 1
        sudo=(sudo -n)
    fi
    say "installing $* with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    "${sudo[@]}" apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
        { "${sudo[@]}" apt-get update -q >/dev/null 2>&1 &&
            "${sudo[@]}" apt-get install -y -q --no-install-recommends "$@" >/dev/null; }
}

# The version of a crate in Cargo.lock.
locked_version() {
    awk -v name="$1" '$1 == "name" && $3 == "\"" name "\"" { found = 1; next }
                      found && $1 == "version" { gsub("\"", "", $3); print $3; exit }' "$REPO/Cargo.lock"
}
