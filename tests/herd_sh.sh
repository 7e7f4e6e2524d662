#!/usr/bin/env bash
# herd.sh from end to end, with real servers: run it as `tests/herd_sh.sh`; it is silent about what
# is right but for one line a check, and its exit code says whether all was.
#
# It works on a copy of the tree, under a path that has spaces and is too long for a socket, with
# ports of its own (HERD_BASE_PORT, 23400 by default), and leaves nothing behind. Only `target` is
# shared, to build the crates it depends on once.
set -euo pipefail
unset CDPATH
# The person who runs this may have a herd of their own.
base_port=${HERD_BASE_PORT:-23400}
for variable in $(compgen -e HERD_); do
    unset "$variable"
done
export HERD_BASE_PORT=$base_port

# The default preset, in the order of its ports. It is named, so that a change of it shows here.
readonly NAMES='Bailey Bona Campbell Clark Jaquez'
readonly FIRST=Bailey MIDDLE=Clark LAST=Jaquez

source_root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=$(mktemp -d)
tree="$scratch/a herd in a path that is longer than the path of any Unix socket may be"
herd_sh=$tree/herd.sh
binary=$tree/target/release/herd
export TMPDIR=$scratch
output=
code=0
skipped=0

main() {
    trap clean_up EXIT
    copy_tree
    cd /

    before_the_first_build
    start_and_ask
    start_twice
    lose_one_server
    restart_one_server
    keep_running_in_spite_of_mistakes
    stop_all
    undo_a_start_that_fails
    start_two_at_once
    keep_no_descriptors
    keep_a_journal
    do_without_cargo_and_home
    serve_two_machines
    serve_two_users
    take_the_tour
    start_with_keys_and_traces
    if [ "$skipped" -gt 0 ]; then
        echo "herd.sh: all other checks passed, $skipped SKIPPED"
    else
        echo "herd.sh: all checks passed"
    fi
}

clean_up() {
    local exit_code=$?
    if [ "$exit_code" -ne 0 ]; then
        printf 'FAILED; the last command ended with %s and said:\n%s\n' "$code" "$output" >&2
        tail -n 20 "$tree"/log/*.out >&2 || true
    fi
    if [ -x "$binary" ]; then
        "$herd_sh" stop >/dev/null || true
        in_another_herd stop >/dev/null || true
    fi
    rm -rf "$scratch"
}

copy_tree() {
    mkdir "$tree"
    (cd "$source_root" &&
        tar -cf - --exclude ./target --exclude ./.git --exclude ./run --exclude ./log .) |
        tar -xf - -C "$tree"
}

# ---- how to check ----------------------------------------------------------------------------

# Runs herd.sh and demands an exit code: the first argument.
run() {
    local expected=$1
    shift
    code=0
    output=$("$herd_sh" "$@" 2>&1) || code=$?
    [ "$code" -eq "$expected" ] || fail "\`herd.sh $*\` ended with $code instead of $expected"
}

# A herd with the same ports whose files are elsewhere: to run_dir's eyes, somebody else's.
in_another_herd() {
    HERD_RUN_DIR=$scratch/other HERD_LOG_DIR=$scratch/other "$herd_sh" "$@"
}

says() {
    case $output in
        *"$1"*) echo "ok: $2" ;;
        *) fail "$2: the output lacks \`$1\`" ;;
    esac
}

skip() {
    skipped=$((skipped + 1))
    echo "==== SKIPPED: $1" >&2
}

fail() {
    echo "not ok: $1" >&2
    exit 1
}

pid_of() {
    run 0 status "$1" --json
    sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' <<<"$output" | head -n 1
}

# A report reaches every server, but not before the sender has its answer: so ask again.
knows_kiwi() {
    local attempt
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        run 0 say "$1" 'WHATSAT kiwi 10 1'
        case $output in "AT $FIRST "*) break ;; esac
        sleep 0.1
    done
    says "AT $FIRST " "$1 knows kiwi (asked ${attempt}x)"
    says '"status"' "$1 answers with places"
}

# ---- the checks ------------------------------------------------------------------------------

before_the_first_build() {
    run 0
    says 'Usage: ' 'without a command there is help'
    run 2 nonsense
    says nonsense 'an unknown command is named'
    run 1 status
    says 'not built yet' 'before the first build, status says what to do'
    run 1 stop
    says 'not built yet' 'before the first build, stop says what to do'
    mkdir -p "$source_root/target"
    ln -s "$source_root/target" "$tree/target"
}

start_and_ask() {
    local name
    run 0 start
    for name in $NAMES; do
        says "$name: started" "$name starts"
    done
    says "say $FIRST 'IAMAT" 'start says what to type next'
    says "127.0.0.1 $HERD_BASE_PORT" 'start names a port'
    [ -e "$tree/run/$FIRST.pid" ] || fail 'the run directory lies elsewhere'

    run 0 say $FIRST "IAMAT kiwi +60.1699+24.9384 $(date +%s)"
    says "AT $FIRST +" 'IAMAT is answered'
    for name in $NAMES; do
        knows_kiwi "$name"
    done
    run 0 say $LAST 'WHATSAT kiwi 51 1'
    says '? WHATSAT kiwi 51 1' 'what is invalid comes back'
    run 0 logs $FIRST
    says 'IAMAT kiwi' 'the log shows what came in'
    ln -s "$herd_sh" "$scratch/link to it"
    output=$("$scratch/link to it" status) || fail 'status through a symbolic link'
    says $MIDDLE 'status works through a symbolic link'
}

start_twice() {
    local before
    before=$(pid_of $LAST)
    run 0 start
    says "$LAST: running already (pid $before)" 'a second start leaves everyone alone'
    [ "$(pid_of $LAST)" = "$before" ] || fail "$LAST has been started anew"
    HERD_BASE_PORT=1 run 98 start
    says "and not on 127.0.0.1:1:" 'a herd on other ports is told apart'
}

lose_one_server() {
    kill -KILL "$(pid_of $MIDDLE)"
    run 3 status
    says $MIDDLE 'status ends with 3 when a server was killed'
    run 0 stop $MIDDLE
    says "$MIDDLE: not running" 'a pid file that was left behind is not believed'
    run 0 start $MIDDLE
    says "$MIDDLE: started" 'a killed server is started again'
    knows_kiwi $MIDDLE
}

restart_one_server() {
    local before
    before=$(pid_of $FIRST)
    run 0 restart $FIRST
    says "$FIRST: stopped (pid $before)" 'restart stops'
    says "$FIRST: started" 'restart starts'
    knows_kiwi $FIRST
    run 0 status
}

keep_running_in_spite_of_mistakes() {
    local before
    before=$(pid_of $FIRST)
    run 2 start --help-me
    says '--help-me' 'a flag that there is not is named'
    run 2 start -- --help
    says 'is no name' 'a flag is not taken for a server'
    run 0 start --help
    says 'Usage: ./herd.sh' 'help is given where it is asked for'
    run 2 restart ''
    says 'is no name' 'nothing is no name'
    run 78 restart $FIRST Baily
    says 'Baily' 'a typo is named'
    local command
    for command in stop reload status logs; do
        run 78 $command $FIRST Baily
        says 'is Bailey meant?' "$command: a typo does nothing, and what was meant is said"
    done
    run 2 restart $FIRST --nonsense
    HERD_KEY_FILE=$scratch/no.key run 78 restart
    echo 'this is no herd' >"$scratch/bad.toml"
    (
        unset HERD_BASE_PORT
        HERD_CONFIG=$scratch/bad.toml run 78 restart
    )
    printf '\nfn broken( {\n' >>"$tree/src/herd/main.rs"
    run 101 restart $FIRST
    says 'error' 'a build that fails is shown'
    # With its old date, it needs no new build.
    cp -p "$source_root/src/herd/main.rs" "$tree/src/herd/main.rs"
    [ "$(pid_of $FIRST)" = "$before" ] || fail "a mistake has stopped $FIRST"
    echo "ok: no mistake in a restart has stopped anybody"
    run 0 reload $FIRST
    says "$FIRST: reloads (pid $before)" 'reload names the server'
    run 0 status
}

start_two_at_once() {
    "$herd_sh" start >"$scratch/first start" 2>&1 &
    "$herd_sh" start >"$scratch/second start" 2>&1 || fail 'one of two starts at once fails'
    wait $! || fail 'the other of two starts at once fails'
    local name pid
    for name in $NAMES; do
        pid=$(sed -n "s/^$name: started (pid \\([0-9]*\\))\$/\\1/p" "$scratch/first start" \
            "$scratch/second start")
        [ "$(pid_of "$name")" = "$pid" ] || fail "$name: said to be started as $pid"
    done
    echo 'ok: two starts at once start each server once'
    run 0 stop
}

# A lock that our caller holds must not be the servers' for as long as they live.
keep_no_descriptors() {
    local held pid
    held=$scratch/held
    (exec 7>"$held" 12>"$held" && "$herd_sh" start $FIRST >/dev/null) || fail 'start with open files'
    pid=$(pid_of $FIRST)
    if [ -d "/proc/$pid/fd" ]; then
        ! readlink "/proc/$pid/fd"/* | grep -qxF "$held" || fail 'a server keeps what its caller had open'
        echo 'ok: servers inherit no descriptors'
    else
        skip 'no /proc to see which files a process has open'
    fi
    run 0 stop
}

# Beside the run directory, unless that is not wanted.
keep_a_journal() {
    rm -rf "$tree/journal"
    HERD_KEEP=off run 0 start $FIRST
    run 0 stop
    [ ! -e "$tree/journal" ] || fail 'a journal was kept that nobody wanted'
    run 0 start $FIRST
    [ -d "$tree/journal/$FIRST" ] || fail 'the journal is not beside run'
    run 0 stop
    says "$FIRST: stopped" 'a server with a journal stops'
    rm -r "$tree/journal"
    echo 'ok: a journal lies beside the run directory'
}

do_without_cargo_and_home() {
    local bin=$scratch/bin tool
    mkdir "$bin"
    for tool in bash cat cut dirname grep head readlink sed tail uname; do
        ln -s "$(command -v "$tool")" "$bin/$tool"
    done
    output=$(env -u HOME -u CARGO_HOME PATH="$bin" "$herd_sh" start $FIRST 2>&1) ||
        fail 'start without cargo and HOME'
    says 'cargo is missing: install Rust' 'that cargo is missing is said'
    says "$FIRST: started" 'what was built before is started'
    output=$(env -u HOME PATH="$bin" "$herd_sh" restart --no-build 2>&1) || fail 'restart --no-build'
    case $output in *cargo*) fail '--no-build wants cargo' ;; esac
    output=$(env -u HOME PATH="$bin" "$herd_sh" status 2>&1) || fail 'status without cargo and HOME'
    run 0 stop
}

serve_two_machines() {
    local toml=$scratch/two.toml
    cat >"$toml" <<TOML
herd = "two"
open = true
run_dir = "$scratch/two run"
links = [["Near", "Far"]]
[log]
dir = "$scratch/two log"
[[server]]
name = "Near"
clients = "127.0.0.1:$HERD_BASE_PORT"
[[server]]
name = "Far"
clients = "192.0.2.1:$HERD_BASE_PORT"
TOML
    unset HERD_BASE_PORT
    export HERD_CONFIG=$toml
    run 0 start
    says 'Near: started' 'who is here starts'
    says 'Far: elsewhere' 'who is not is left alone'
    run 0 status
    says 'elsewhere' 'status says who is elsewhere'
    run 0 logs
    says 'name=Near herd=two' 'the log is where herd.toml says'
    output=$("$binary" pid Near) || fail 'the binary does not find what herd.sh has started'
    echo 'colour = 1' >>"$toml"
    run 0 status
    says 'unknown key' 'a broken herd.toml is complained about'
    run 0 stop
    says 'Near: stopped' 'and in nobodys way'
    unset HERD_CONFIG
    export HERD_BASE_PORT=$base_port
}

serve_two_users() {
    if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
        skip 'two users need root and setpriv'
        return
    fi
    run 0 start $FIRST
    chmod 755 "$scratch"
    cp "$binary" "$scratch/herd"
    code=0
    output=$(cd / && HERD_HOME=$tree setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$scratch/herd" stop 2>&1) || code=$?
    [ "$code" -eq 77 ] || fail "stop as another user ends with $code"
    says "another user's" 'another user is told whose it is'
    run 0 status $FIRST
    run 0 stop
}

stop_all() {
    local name
    run 0 stop
    for name in $NAMES; do
        says "$name: stopped" "$name stops when asked"
    done
    run 3 status
    run 0 stop
    says 'No server is running' 'a second stop has nothing to do'
}

undo_a_start_that_fails() {
    output=$(in_another_herd start $MIDDLE 2>&1) || fail 'one server of another herd'
    run 98 start
    says "$MIDDLE did not start" 'a taken port is complained about'
    says "$FIRST: stopped again" 'a start that fails is undone'
    run 3 status $FIRST
    output=$(in_another_herd status $MIDDLE) || fail 'the other herd was stopped as well'
    output=$(in_another_herd stop) || fail 'the other herd cannot be stopped'
    run 78 start Nobody
    says 'Nobody' 'an unknown server is named'
    HERD_LOG_DIR=$herd_sh run 73 start
    says 'set HERD_LOG_DIR' 'a log directory that cannot be made is named'
}

take_the_tour() {
    run 0 demo
    says "AT $FIRST +" 'the demo shows a report'
    says '? HELLO' 'the demo shows an invalid line'
    says 'stopped (pid' 'the demo takes a server away'
    says 'Helsinki' 'the demo brings it back, and it knows what it has missed'
    run 0 stop
}

start_with_keys_and_traces() {
    run 2 start --key-file
    says 'a value is required' 'a forgotten file is asked for'
    run 78 start --key-file "$scratch/no.key"
    says 'no.key cannot be read' 'a key file that is not there is named'
    "$binary" keygen "$scratch/a herd.key" >/dev/null
    run 2 start --trace
    says 'a value is required' 'a forgotten directory is asked for'
    run 0 start --key-file "$scratch/a herd.key" --trace "$scratch/all traces"
    says "$LAST: started" 'the herd starts with keys'
    run 0 say $FIRST "IAMAT kiwi +60.1699+24.9384 $(date +%s)"
    knows_kiwi $LAST
    HERD_KEY_FILE=$scratch/no.key run 0 status
    HERD_KEY_FILE=$scratch/no.key run 78 restart $LAST
    run 0 status $LAST
    run 0 stop
    grep -q herd-trace/1 "$scratch/all traces/$LAST.json" || fail "$LAST has left no trace"
}

main
