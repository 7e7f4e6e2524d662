#!/usr/bin/env bash
# Builds, starts, stops and asks a herd on this machine: `./herd.sh help` lists what it can do.
#
# It decides nothing itself. Which servers there are, on which ports and with which peers, the
# binary knows from its configuration (HERD_PRESET, HERD_BASE_PORT, HERD_CONFIG); whether one runs
# is known to whoever holds the lock on its pid file, which the binary asks as well. So no process
# is ever signalled that is not a server of this very run directory.
#
# Written for bash 3.2, which is what macOS has.
set -euo pipefail
unset CDPATH

readonly START_SECONDS_MAX=10
readonly STOP_SECONDS_MAX=10
# A socket's path has room for 103 bytes on macOS and 107 on Linux; the rest is for /NAME.sock.
readonly RUN_DIR_BYTES_MAX=70

usage() {
    cat <<'TEXT'
Usage: ./herd.sh COMMAND

  start [NAME…]            build, start the whole herd or these servers, return when all answer;
                           --key-file FILE as `herd serve` has it, --trace DIR for DIR/NAME.json
  stop [NAME…]             stop them: ask first, kill after ten seconds
  restart [NAME…]          build, stop, start; it takes the flags of start
  status [NAME…] [--json]  who runs, who is joined with whom; exit code 3 if one is stopped
  logs [NAME]              follow the logs (print their ends if the output is no terminal)
  say NAME 'LINE'          send one line to a server, print the answer
  demo                     start the herd if needed and take a short tour
  test                     run the tests (cargo test)
  help                     this text

Environment: HERD_PRESET, HERD_BASE_PORT and HERD_CONFIG choose the herd, HERD_KEY_FILE its keys,
HERD_LOG_DIR, HERD_RUN_DIR and HERD_TRACE_DIR where its files go. README.md says more.
TEXT
}

main() {
    me=$(printf %q "$0")
    root=$(find_root)
    binary=$root/target/release/herd
    log_dir=${HERD_LOG_DIR:-$root/log}
    run_dir=${HERD_RUN_DIR:-$(choose_run_dir)}
    started=()

    local command=${1:-help} wanted=()
    [ $# -eq 0 ] || shift
    case $command in
        start)
            take_flags "$@"
            set -- ${wanted[@]+"${wanted[@]}"}
            build
            start "$@"
            suggest "$@"
            ;;
        stop)
            require_binary
            stop "$@"
            ;;
        restart)
            take_flags "$@"
            set -- ${wanted[@]+"${wanted[@]}"}
            build
            stop "$@"
            start "$@"
            ;;
        status | say)
            require_binary
            "$command" "$@"
            ;;
        logs) logs "$@" ;;
        demo)
            build
            demo
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

# Leaves the names among the arguments in `wanted`. Flags become variables; that of a key file is
# heeded by every command of the binary.
take_flags() {
    while [ $# -gt 0 ]; do
        case $1 in
            --key-file=*) export HERD_KEY_FILE=${1#*=} ;;
            --key-file)
                if [ $# -lt 2 ]; then
                    complain "--key-file needs the name of a file"
                    exit 2
                fi
                export HERD_KEY_FILE=$2
                shift
                ;;
            --trace=*) export HERD_TRACE_DIR=${1#*=} ;;
            --trace)
                if [ $# -lt 2 ]; then
                    complain "--trace needs the name of a directory"
                    exit 2
                fi
                export HERD_TRACE_DIR=$2
                shift
                ;;
            *) wanted+=("$1") ;;
        esac
        shift
    done
}

# ---- where things are ------------------------------------------------------------------------

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

# The run directory depends on nothing but where this folder lies, so that every later call finds
# the servers of an earlier one.
choose_run_dir() {
    local LC_ALL=C
    if [ $((${#root} + 4)) -le "$RUN_DIR_BYTES_MAX" ]; then
        echo "$root/run"
    else
        local temporary=${TMPDIR:-/tmp}
        echo "${temporary%/}/herd-$UID-$(printf %s "$root" | cksum | cut -d ' ' -f 1)"
    fi
}

# In a folder that everybody may write to, a stranger could have made the directory first.
make_dirs() {
    if ! mkdir -p "$log_dir" 2>/dev/null; then
        complain "the log directory $log_dir cannot be made; set HERD_LOG_DIR to another place"
        return 1
    fi
    if ! mkdir -p "${HERD_TRACE_DIR:-$log_dir}" 2>/dev/null; then
        complain "the directory $HERD_TRACE_DIR for traces cannot be made; choose another place"
        return 1
    fi
    if [ ! -d "$run_dir" ] && ! (umask 077 && mkdir -p "$run_dir") 2>/dev/null; then
        complain "the run directory $run_dir cannot be made; set HERD_RUN_DIR to another place"
        return 1
    fi
    if [ -L "$run_dir" ] || [ ! -O "$run_dir" ]; then
        complain "$run_dir belongs to somebody else; set HERD_RUN_DIR to a directory of yours"
        return 1
    fi
}

# ---- what is needed --------------------------------------------------------------------------

require_cargo() {
    # rustup puts it there, but only a new terminal knows.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    local wanted version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null; then
        complain "cargo is missing: install Rust $wanted or later from https://rustup.rs, with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        return 1
    fi
    version=$(cd "$root" && cargo --version | cut -d ' ' -f 2)
    if ! is_recent "$version" "$wanted"; then
        complain "cargo $version is too old, $wanted or later is needed: run \`rustup update\`"
        return 1
    fi
}

# Is version $1 (1.95.0-nightly) at least $2 (1.89)?
is_recent() {
    local major=${1%%.*} minor=${1#*.}
    minor=${minor%%.*}
    [ "$major" -gt "${2%%.*}" ] || { [ "$major" -eq "${2%%.*}" ] && [ "$minor" -ge "${2#*.}" ]; }
}

build() {
    require_cargo
    if [ -x "$binary" ]; then
        echo "Building (cargo build --release)"
    else
        echo "Building (cargo build --release); the first time takes a minute or two"
    fi
    (cd "$root" && cargo build --release --quiet --target-dir "$root/target")
}

require_binary() {
    [ -x "$binary" ] && return
    complain "the herd is not built yet: \`$0 start\` builds and starts it"
    return 1
}

complain() {
    echo "herd.sh: $*" >&2
}

# ---- servers ---------------------------------------------------------------------------------

# The names given, or those of every server of the herd that can be started here, one a line.
names() {
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@"
    else
        "$binary" check-config --names
    fi
}

# Whoever has left a pid file here, even if the configuration has changed since.
names_seen() {
    local file
    for file in "$run_dir"/*.pid; do
        file=${file##*/}
        [ "$file" = '*.pid' ] || echo "${file%.pid}"
    done
}

# Prints the pid of a running server. False: it does not run.
pid_of() {
    "$binary" pid "$1" --run-dir "$run_dir" 2>/dev/null
}

answers() {
    "$binary" status "$1" --run-dir "$run_dir" >/dev/null 2>&1
}

# Is a server still without one of its peers?
lacks_peers() {
    "$binary" status "$1" --run-dir "$run_dir" --json 2>/dev/null |
        grep -Eq '"state": *"(waiting|dialing|greeting|down)"'
}

start() {
    local all name pid missing=()
    all=$(names "$@")
    make_dirs
    while read -r name; do
        if pid=$(pid_of "$name"); then
            require_same_place "$name"
            echo "$name: running already (pid $pid)"
        else
            # What is wrong with the configuration is said before anybody runs.
            "$binary" check-config "$name" >/dev/null
            missing+=("$name")
        fi
    done <<<"$all"
    trap 'roll_back; exit 130' INT TERM
    for name in ${missing[@]+"${missing[@]}"}; do
        launch "$name"
    done
    local deadline=$((SECONDS + START_SECONDS_MAX)) record
    for record in ${started[@]+"${started[@]}"}; do
        if ! await_answer "$record" "$deadline"; then
            roll_back
            exit 1
        fi
    done
    trap - INT TERM
    [ $# -gt 0 ] || await_peers "$all" "$deadline"
}

# A server of the same name may run here for another herd. (One that is stuck says nothing.)
require_same_place() {
    local wanted found
    wanted=$("$binary" check-config "$1" | sed -n 's/^clients  *//p')
    found=$(address_of "$1") || return 0
    [ "$found" != "$wanted" ] || return 0
    complain "$1 runs already, but on $found and not on $wanted: \`$me stop\` first, or give this
    herd directories of its own with HERD_RUN_DIR and HERD_LOG_DIR"
    return 1
}

# Starts one server. A record in `started` is: name, pid, and how long its .out file was before.
#
# Job control gives it a process group of its own, so that Ctrl-C here does not reach it; with
# stderr on a terminal, job control would fight for that terminal.
launch() {
    local out=$log_dir/$1.out before=0 pid
    [ ! -f "$out" ] || before=$(wc -c <"$out")
    pid=$(
        exec 2>>"$out"
        set -m
        nohup "$binary" serve "$1" --log-dir "$log_dir" --run-dir "$run_dir" \
            ${HERD_TRACE_DIR:+--trace "$HERD_TRACE_DIR/$1.json"} \
            </dev/null >>"$out" 2>&1 &
        echo $!
    )
    started+=("$1 $pid $((before))")
}

await_answer() {
    local name pid before
    read -r name pid before <<<"$1"
    while ! answers "$name"; do
        if ! is_alive "$pid"; then
            complain "$name did not start; it said:"
        elif [ "$SECONDS" -ge "$2" ]; then
            complain "$name does not answer after $START_SECONDS_MAX seconds; it said:"
        else
            sleep 0.05
            continue
        fi
        tail -c "+$((before + 1))" "$log_dir/$name.out" | tail -n 10 | sed 's/^/    /' >&2
        return 1
    done
    echo "$name: started (pid $pid)"
}

# A zombie is dead as well; where nobody buries them, `kill -0` still finds them.
is_alive() {
    kill -0 "$1" 2>/dev/null || return 1
    case $(ps -o stat= -p "$1" 2>/dev/null) in
        Z*) return 1 ;;
    esac
}

# A server that answers is up; a herd is up when its servers have found each other.
await_peers() {
    local name
    while read -r name; do
        while lacks_peers "$name"; do
            if [ "$SECONDS" -ge "$2" ]; then
                complain "not all servers have found each other yet; see \`$me status\`"
                return 0
            fi
            sleep 0.05
        done
    done <<<"$1"
}

# A start leaves nothing half done: whatever this call has started goes again.
roll_back() {
    trap - INT TERM
    complain "undoing this start"
    local deadline=$((SECONDS + 2)) record name pid names=()
    for record in ${started[@]+"${started[@]}"}; do
        read -r name pid _ <<<"$record"
        # A server of a moment ago may not hold its pid file yet.
        while is_alive "$pid" && [ -z "$(pid_of "$name")" ] && [ "$SECONDS" -lt "$deadline" ]; do
            sleep 0.05
        done
        names+=("$name")
    done
    [ ${#names[@]} -eq 0 ] || stop "${names[@]}" >&2
}

stop() {
    local name pid running=()
    while read -r name; do
        if pid=$(pid_of "$name"); then
            kill -TERM "$pid" 2>/dev/null || true
            running+=("$name $pid")
        elif [ $# -gt 0 ]; then
            echo "$name: not running"
        fi
    done <<<"$(if [ $# -gt 0 ]; then names "$@"; else names_seen; fi)"
    [ $# -gt 0 ] || [ ${#running[@]} -gt 0 ] || echo "No server is running."
    local deadline=$((SECONDS + STOP_SECONDS_MAX)) record
    for record in ${running[@]+"${running[@]}"}; do
        await_end "${record% *}" "${record#* }" "$deadline"
    done
}

await_end() {
    local how=stopped
    while [ "$(pid_of "$1")" = "$2" ]; do
        if [ "$SECONDS" -ge "$3" ] && [ "$how" = stopped ]; then
            kill -KILL "$2" 2>/dev/null || true
            how="killed, for it did not stop in $STOP_SECONDS_MAX seconds"
        fi
        sleep 0.05
    done
    echo "$1: $how (pid $2)"
}

# ---- for people ------------------------------------------------------------------------------

# Without names: the whole herd, and whoever else runs here.
status() {
    local argument name shown=
    for argument in "$@"; do
        case $argument in
            --*) ;;
            *) shown=chosen ;;
        esac
    done
    if [ -z "$shown" ]; then
        shown=$(names)
        while read -r name; do
            if ! grep -qxF -e "$name" <<<"$shown" && pid_of "$name" >/dev/null; then
                shown+=$'\n'$name
            fi
        done <<<"$(names_seen)"
        while read -r name; do
            set -- "$@" "$name"
        done <<<"$shown"
    fi
    "$binary" status --run-dir "$run_dir" "$@"
}

say() {
    "$binary" say "$@"
}

# What to type next; the names are those that were started.
suggest() {
    local all first last address tell="Tell one server where you are, ask another what is near"
    all=$(names "$@")
    first=$(head -n 1 <<<"$all")
    last=$(tail -n 1 <<<"$all")
    [ "$first" != "$last" ] || tell="Tell $first where you are, ask it what is near"
    address=$(address_of "$first")
    cat <<TEXT

Ready. $tell:
    $me say $first 'IAMAT kiwi +60.1699+24.9384 $(date +%s)'
    $me say $last 'WHATSAT kiwi 10 3'
or type lines yourself (Ctrl-C leaves):
    nc ${address%:*} ${address##*:}
Then: $me status, $me logs, $me stop
TEXT
}

address_of() {
    status "$1" --json 2>/dev/null | sed -n 's/.*"client_address": *"\([^"]*\)".*/\1/p' | head -n 1
}

demo() {
    local all first last
    all=$(names)
    first=$(head -n 1 <<<"$all")
    last=$(tail -n 1 <<<"$all")
    start
    show "A client tells $first where it is." "$first" "IAMAT kiwi +60.1699+24.9384 $(date +%s)"
    show "$last has heard of it, and knows what is near." "$last" 'WHATSAT kiwi 10 3'
    show "What a server does not understand comes back with a question mark." \
        "$first" 'WHEREIS kiwi'
    printf '\nThe herd goes on running: %s status, %s stop.\n' "$me" "$me"
}

show() {
    printf "\n# %s\n$ %s say %s '%s'\n" "$1" "$me" "$2" "$3"
    say "$2" "$3"
}

logs() {
    local files=()
    if [ $# -gt 0 ]; then
        files=("$log_dir/$1.log")
    else
        files=("$log_dir"/*.log)
    fi
    if [ ! -f "${files[0]}" ]; then
        complain "there is no log ${files[0]}: has the server been started?"
        return 1
    fi
    if [ -t 1 ]; then
        exec tail -n 10 -F "${files[@]}"
    else
        tail -n 50 "${files[@]}"
    fi
}

main "$@"
