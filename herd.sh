#!/usr/bin/env bash
# Builds a herd and runs it on this machine: `./herd.sh help` lists what it can do.
#
# It builds and shows; all else is the binary's. Which servers there are and which of them belong
# on this machine, where their files go, whether one runs and how it is stopped: `herd start`,
# `herd stop` and so on know it, with or without this script.
#
# Written for bash 3.2, which is what macOS has.
set -euo pipefail
unset CDPATH

usage() {
    cat <<'TEXT'
Usage: ./herd.sh COMMAND

  start [NAME…]            build, start the whole herd or these servers, return when all answer;
                           --key-file FILE and the other flags of `herd serve`, --trace DIR for
                           DIR/NAME.json, --no-build for the binary as it is
  stop [NAME…]             stop them: ask first, kill if they do not
  restart [NAME…]          build, check, and only then stop and start; it takes the flags of start
  reload [NAME…]           open the logs anew and read the places again
  status [NAME…] [--json]  who runs, who is joined with whom; exit code 3 if one is stopped
  top [NAME…]              what they do, second by second; `q` ends it
  logs [NAME…]             follow the logs (print their ends if the output is no terminal)
  say NAME 'LINE'          send one line to a server, print the answer
  demo                     start the herd if needed and take the tour of README.md
  test                     run the tests (cargo test)
  help                     this text

Environment: HERD_PRESET, HERD_BASE_PORT and HERD_CONFIG choose the herd, HERD_KEY_FILE its keys,
HERD_LOG_DIR, HERD_RUN_DIR, HERD_JOURNAL_DIR and HERD_TRACE_DIR where its files go, HERD_KEEP
whether a journal is kept. README.md says more.
TEXT
}

main() {
    root=$(find_root)
    binary=$root/target/release/herd
    builds=yes
    # What the binary says is about this script, and its files belong into this folder.
    HERD_SH=$(printf %q "$0")
    export HERD_SH HERD_HOME=${HERD_HOME:-$root}

    local command=${1:-help} rest=()
    [ $# -eq 0 ] || shift
    case ${1:-} in
        -h | --help)
            usage
            exit
            ;;
    esac
    case $command in
        start | restart)
            take_flags "$@"
            build
            herd "$command" ${rest[@]+"${rest[@]}"}
            ;;
        stop | reload | say | top)
            require_binary
            herd "$command" "$@"
            ;;
        status)
            require_binary
            herd status --all "$@"
            ;;
        logs)
            require_binary
            if [ -t 1 ]; then
                herd logs --follow "$@"
            else
                herd logs "$@"
            fi
            ;;
        demo)
            take_flags "$@"
            build
            demo ${rest[@]+"${rest[@]}"}
            ;;
        test)
            require_cargo
            cd "$root"
            exec cargo test "$@"
            ;;
        help | -h | --help) usage ;;
        *)
            complain "there is no command \`$command\`"
            usage >&2
            exit 2
            ;;
    esac
}

# Leaves what is the binary's among the arguments in `rest`.
take_flags() {
    local argument
    for argument in "$@"; do
        case $argument in
            --no-build) builds=no ;;
            *) rest+=("$argument") ;;
        esac
    done
}

# The folder of this script itself, however many symbolic links lead to it.
find_root() {
    local script=${BASH_SOURCE[0]} folder
    while [ -L "$script" ]; do
        folder=$(cd -P "$(dirname "$script")" && pwd)
        script=$(readlink "$script")
        case $script in
            /*) ;;
            *) script=$folder/$script ;;
        esac
    done
    cd -P "$(dirname "$script")" && pwd
}

# ---- what is needed --------------------------------------------------------------------------

# Says why there is none, if there is none.
has_cargo() {
    # rustup puts it there, but only a new terminal knows.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
    local wanted version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null; then
        complain "cargo is missing: install Rust $wanted or later from https://rustup.rs, with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        return 1
    fi
    if ! version=$(cd "$root" && cargo --version 2>&1); then
        complain "cargo does not work: $version"
        return 1
    fi
    version=${version#cargo }
    version=${version%% *}
    if ! is_recent "$version" "$wanted"; then
        complain "cargo $version is too old, $wanted or later is needed: run \`rustup update\`"
        return 1
    fi
}

require_cargo() {
    has_cargo || exit 1
}

# Is version $1 (1.95.0-nightly) at least $2 (1.89)?
is_recent() {
    local major=${1%%.*} minor=${1#*.}
    minor=${minor%%.*}
    [ "$major" -gt "${2%%.*}" ] || { [ "$major" -eq "${2%%.*}" ] && [ "$minor" -ge "${2#*.}" ]; }
}

build() {
    if [ "$builds" = no ]; then
        require_binary
        return
    fi
    if ! has_cargo; then
        [ -x "$binary" ] || exit 1
        complain "so the herd is started as it was built before (--no-build says that this is meant)"
        return
    fi
    if [ -x "$binary" ]; then
        echo "Building (cargo build --release); only what has changed"
    else
        echo "Building (cargo build --release); the first time takes two minutes on two cores"
    fi
    # On a terminal cargo shows how far it is.
    local quiet=--quiet
    [ ! -t 2 ] || quiet=
    (cd "$root" && cargo build --release ${quiet:+"$quiet"} --target-dir "$root/target")
}

require_binary() {
    [ -x "$binary" ] && return
    complain "the herd is not built yet: \`$HERD_SH start\` builds and starts it"
    exit 1
}

complain() {
    echo "herd.sh: $*" >&2
}

herd() {
    "$binary" "$@"
}

# ---- the tour --------------------------------------------------------------------------------

demo() {
    local all first last third
    all=$(herd check-config --names)
    first=$(head -n 1 <<<"$all")
    third=$(sed -n 3p <<<"$all")
    last=$(tail -n 1 <<<"$all")
    # What to type next is what follows.
    herd start "$@" | sed '/^$/,$d'
    show "A client tells $first where it is." \
        say "$first" "IAMAT kiwi +34.068930-118.445127 $(date +%s)"
    show "$last has heard of it, and knows what is near." say "$last" 'WHATSAT kiwi 10 1'
    show "What a server does not understand comes back with a question mark." say "$first" HELLO
    show "The servers say who runs, what they know, and who is joined with whom." status
    if [ -n "$third" ] && [ "$third" != "$last" ]; then
        show "$third is taken away." stop "$third"
        show "The client has moved on meanwhile." \
            say "$first" "IAMAT kiwi +60.169900+24.938400 $(date +%s)"
        show "$third comes back, and is told what it has missed." start --no-build "$third"
        show "So it knows where the client is now." say "$third" 'WHATSAT kiwi 5 1'
    fi
    printf '\nThe herd goes on running: %s status, %s stop.\n' "$HERD_SH" "$HERD_SH"
}

# Shows a command as it could be typed, and what comes of it. A server that has just started is
# told what it has missed a moment later, so one that knows nothing yet is asked again.
show() {
    local sentence=$1 word typed=$HERD_SH said attempt
    shift
    for word in "$@"; do
        case $word in
            *' '*) typed+=" '$word'" ;;
            *) typed+=" $word" ;;
        esac
    done
    printf '\n# %s\n$ %s\n' "$sentence" "$typed"
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        said=$(main "$@" </dev/null) || true
        case "$*:$said" in
            *WHATSAT*:'? '*) sleep "0.$attempt" ;;
            *) break ;;
        esac
    done
    printf '%s\n' "$said"
}

main "$@"
