#!/usr/bin/env bash
# The viewer in a browser: run it as `tests/viewer.sh`. It finds what `tests/viewer.py` needs and
# leaves the checks to it; without a browser they are skipped, and said so in capitals.
#
# HERD and BROWSER name other programs than those it would build and find.
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

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    skip "the viewer is not tested, for that needs python3, 3.11 or later"
find_browser >/dev/null || install_browser >&2 || true
browser=$(find_browser) || skip "the viewer is not tested, for there is no Chromium to be had"
if [ -z "${HERD:-}" ]; then
    cargo build --locked --release
    HERD=target/release/herd
fi
python3 tests/viewer.py "$HERD" "$browser" "$@"
