#!/usr/bin/env bash
# The viewer and the live map in a browser: run it as `tests/viewer.sh`, or as `tests/viewer.sh map`
# for the map alone. It finds what `tests/viewer.py` and `tests/map.py` need and leaves the checks
# to them; without a browser they are skipped, and said so in capitals.
#
# HERD and BROWSER name other programs than those it would build and find, AXE the axe.min.js of
# axe-core, which looks at the map for people who see or hear little.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    printf '\n==== SKIPPED: %s\n' "$*"
    exit 0
}

find_browser() {
    local name
    for name in "${BROWSER:-}" chromium chromium-browser google-chrome chrome headless_shell; do
        [ -n "$name" ] && command -v "$name" && return
    done
    for name in ~/.cache/ms-playwright/chromium*/chrome-linux*/{chrome,headless_shell}; do
        [ -x "$name" ] && printf '%s\n' "$name" && return
    done
    return 1
}

install_browser() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    apt-get update -q && apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core
}

# axe-core is a tool of this test alone: nothing of it is in the program.
find_axe() {
    if [ -n "${AXE:-}" ]; then
        printf '%s\n' "$AXE"
        return
    fi
    command -v npm >/dev/null || return 1
    (cd "$scratch" && npm pack --silent axe-core@4.10.2 && tar xzf axe-core-4.10.2.tgz) >&2 ||
        return 1
    printf '%s\n' "$scratch/package/axe.min.js"
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    skip "the pages are not tested, for that needs python3, 3.11 or later"
find_browser >/dev/null || install_browser >&2 || true
browser=$(find_browser) || skip "the pages are not tested, for there is no Chromium to be had"
if [ -z "${HERD:-}" ]; then
    cargo build --locked --release
    HERD=target/release/herd
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ "${1:-}" = map ]; then
    shift
else
    python3 tests/viewer.py "$HERD" "$browser" "$@"
fi
axe=$(find_axe) || axe=
python3 tests/map.py "$HERD" "$browser" ${axe:+--axe "$axe"} "$@"
