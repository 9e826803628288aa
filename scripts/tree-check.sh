#!/usr/bin/env bash
# The verifier runs on devices and in browsers: it must never come to depend on a runtime, an HTTP stack or a second
# cryptographic provider.
source "$(dirname "$0")/lib.sh"
cd "$REPO"

banned='tokio|reqwest|hyper|ring|aws-lc-rs|aws-lc-sys|openssl|openssl-sys|rustls|mio'
for package in assay-schema assay-trust assay-provenance assay-verifier; do
    for target in "$(rustc -vV | sed -n 's/^host: //p')" wasm32-unknown-unknown; do
        tree="$(cargo tree --locked -p "$package" --no-default-features --target "$target" --prefix none --format '{p}')"
        grep -q "^$package v" <<<"$tree" || die "cargo tree does not list $package itself"
        if found="$(grep -E "^($banned) v" <<<"$tree" | sort -u)"; then
            die "$package on $target depends on: $(tr '\n' ' ' <<<"$found"). See: cargo tree -p $package --no-default-features -i CRATE"
        fi
    done
    echo "$package: $(sort -u <<<"$tree" | wc -l) crates, none of: ${banned//|/ }"
done

# Nobody who builds or ships this may have to come under GPL or AGPL; a licence that is one choice of several is fine.
cargo metadata --locked --format-version 1 | python3 -c '
import json, re, sys
def binding(text):
    return all(re.search(r"\bA?GPL", choice) for choice in re.split(r"\bOR\b|/", text))
every = json.load(sys.stdin)["packages"]
bad = ["{name} {version}: {license}".format(**p) for p in every if not p["license"] or binding(p["license"])]
sys.exit("licences that are not permitted: " + ", ".join(bad) if bad else 0)'

# The lint can be switched off where it denies: only here it may be.
if found="$(grep -rlE 'allow\(|expect\(' --include='*.rs' --exclude-dir=target . | xargs grep -lw unsafe_code | grep -vx './client/src/hash/lanes.rs')"; then
    die "unsafe code outside the one place that ARCHITECTURE.md names: $found"
fi

# A feature that a workspace member switches on is switched on for all: look at the verifier in their company too.
tree="$(cargo tree --locked --workspace -e normal --prefix none --format '{p} {f}')"
if found="$(grep -E '^(aws-lc-rs|aws-lc-sys) v' <<<"$tree" | sort -u)"; then
    die "the workspace has a second TLS provider beside ring: $found"
fi

# A library that a token's maker wrote runs with the rights of whoever loads it: the registry and devices' verifiers load none.
for package in assay-server assay-client assay-verifier; do
    if found="$(cargo tree --locked -p "$package" -e normal --prefix none --format '{p}' | grep -E '^(cryptoki|cryptoki-sys|libloading|assay-pkcs11) v')"; then
        die "$package can load PKCS#11 modules: $found"
    fi
done
