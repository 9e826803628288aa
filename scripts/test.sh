#!/usr/bin/env bash
# Everything that CI runs. Goes on after a failed step, and ends with each runner's own closing lines.
source "$(dirname "$0")/lib.sh"
cd "$REPO"

scripts/setup.sh base
scripts/setup.sh nextest postgres softhsm python wasm faketime

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT
failed=()
table=()

step() {
    local name="$1" start=$SECONDS result=ok
    say "$name"
    if make --no-print-directory "$name" 2>&1 | tee "$logs/$name"; then :; else result=FAILED; failed+=("$name"); fi
    table+=("$(printf '%-12s %-6s %4ds' "$name" "$result" $((SECONDS - start)))")
}

# The build of the tests comes early: what follows reuses it.
for name in fmt-check clippy nextest doctest doc tree-check wasm-test interop e2e; do
    [ -z "${ASSAY_STEPS:-}" ] || [[ " $ASSAY_STEPS " == *" $name "* ]] || continue
    step "$name"
done

# The closing lines of the runners, once more, where a reader looks for them.
closing() { [ -f "$logs/$1" ] && sed 's/\x1b\[[0-9;]*m//g' "$logs/$1" | grep -E "$2" || true; }
echo
printf '%s\n' "${table[@]}"
echo
closing doctest '^test result:'
closing wasm-test '^# (tests|pass|fail|skipped) '
closing interop '^[0-9]+ (passed|failed|skipped|error).* in '
closing e2e '^[0-9]+ (passed|failed|skipped|error).* in '
closing nextest '^ *Summary \['
if [ "${#failed[@]}" -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo "all steps passed"
