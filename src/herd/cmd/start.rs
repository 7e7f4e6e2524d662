//! Starts servers in the background: `start` and `restart`.
//!
//! `serve` is the server itself; this is a parent that checks everything before it begins, waits
//! until each of its children answers, and leaves nothing half done. One such parent at a time
//! works in a run directory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::exit::{Exit, Failure};
use herd::config::{Config, ConfigError};
use herd::logging::{self, STDERR};
use herd::places::Supply;
use herd::run_dir::RunDir;
use herd::status::{PeerState, Status};

use super::flags::StartFlags;
use super::here;
use super::query::unreadable;
use super::query::{Sight, ask, look};

/// A server answers a moment after its start; a machine that is busy with something else may need
/// longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a condition is checked while it is waited for.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Lines shown of the output of a server that did not start.
const LINES_SHOWN: usize = 10;

/// What is to be started, checked.
pub struct Plan {
    pub configs: Vec<Config>,
    pub run_dir: RunDir,
    /// All of the herd that belong here, not only some.
    pub is_whole: bool,
}

/// A server that was started here and may have to be taken back.
struct Started<'a> {
    config: &'a Config,
    child: Child,
    /// Its `.out` file is about this start from this offset on.
    said_from: u64,
}

/// The name of this program in its messages: herd.sh has another name for itself.
pub fn me() -> String {
    std::env::var("HERD_SH").ok().filter(|me| !me.is_empty()).unwrap_or("herd".to_owned())
}

/// Starts those that do not run yet.
///
/// # Errors
/// Something is wrong with one of them; then none has been started.
pub fn start(out: &mut impl Write, flags: &StartFlags) -> Result<Exit, Failure> {
    let plan = plan(out, flags)?;
    let _lock = lock(&plan.run_dir)?;
    make_dirs(&plan, flags)?;
    launch_missing(out, &plan, flags)?;
    suggest(out, &plan).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

/// Understands what is wanted, and finds every mistake that can be found before a socket is opened.
pub fn plan(out: &mut impl Write, flags: &StartFlags) -> Result<Plan, Failure> {
    let (herd, _) = super::check_config::checked_herd(&flags.flags.which(), None)?;
    let is_whole = flags.names.is_empty();
    let mut names = flags.names.clone();
    if is_whole {
        for member in herd.members.iter().filter(|member| member.peers.is_some()) {
            if here::is_here(&member.clients) {
                names.push(member.name.clone());
            } else {
                writeln!(out, "{}: elsewhere ({})", member.name, member.clients)
                    .map_err(|error| Failure::of_output(&error))?;
            }
        }
        if names.is_empty() {
            return Err(ConfigError::new(format!(
                "no server of herd {} has an address of this machine: name those that are to run \
                 here, as in `{} start NAME --bind ADDR`",
                herd.id,
                me()
            ))
            .into());
        }
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.len() > 1
        && flags.trace.is_none()
        && std::env::var_os("HERD_TRACE").is_some_and(|path| !path.is_empty())
    {
        let message = "HERD_TRACE names one file, which several servers would write: unset it, \
             and name a directory with --trace (HERD_TRACE_DIR)";
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut configs = Vec::new();
    for name in &names {
        let config = flags.config(name)?;
        let is_placed = is_whole || flags.flags.herd.bind.is_some();
        if !is_placed && !here::is_ours(config.client_address.ip()) {
            return Err(ConfigError::new(format!(
                "{name} is at {}, which is no address of this machine: start it there, or name an \
                 address of this one with --bind",
                config.client_address
            ))
            .into());
        }
        Supply::of(&config.places).map_err(|error| ConfigError::new(error.to_string()))?;
        configs.push(config);
    }
    let first = &configs[0];
    let run_dir = RunDir::new(first.run_dir.clone()).with_mode(first.run_dir_mode);
    Ok(Plan { configs, run_dir, is_whole })
}

/// Waits until no other process starts or stops servers there.
pub fn lock(run_dir: &RunDir) -> Result<File, Failure> {
    let path = run_dir.path().display();
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match run_dir.lock() {
            Ok(Some(file)) => return Ok(file),
            Ok(None) if begun.elapsed() > 2 * START_TIMEOUT => {
                let message = format!(
                    "another start or stop has been at work in {path} for too long: end it, then \
                     try again"
                );
                return Err(Failure::new(Exit::Taken, message));
            }
            Ok(None) => {
                if !is_told {
                    is_told = true;
                    say(&format!("waiting for another start or stop in {path}"));
                }
                thread::sleep(PAUSE);
            }
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && run_dir.path().exists() =>
            {
                return Err(unreadable(run_dir, &error));
            }
            Err(error) => {
                let message = format!(
                    "the run directory {path} cannot be used ({error}): set HERD_RUN_DIR to another"
                );
                return Err(Failure::new(Exit::CannotCreate, message));
            }
        }
    }
}

pub fn make_dirs(plan: &Plan, flags: &StartFlags) -> Result<(), Failure> {
    let cannot = |what: &str, path: &Path, error: io::Error, way_out: &str| {
        let message =
            format!("the {what} directory {} cannot be made ({error}): {way_out}", path.display());
        Failure::new(Exit::CannotCreate, message)
    };
    let run_dir = plan.run_dir.path();
    let about = fs::metadata(run_dir)
        .map_err(|error| cannot("run", run_dir, error, "set HERD_RUN_DIR to another"))?;
    // In a folder that every user may write to, a stranger could have made it first.
    if about.uid() != geteuid().as_raw() {
        let message = format!(
            "{} belongs to another user: set HERD_RUN_DIR to a directory of yours",
            run_dir.display()
        );
        return Err(Failure::new(Exit::NotAllowed, message));
    }
    if plan.configs.iter().any(|config| config.log.dir == Path::new(STDERR)) {
        let message = "a server in the background has no stderr that anybody reads: give `start` \
                       a log directory, as with --log-dir log, or run `herd serve`";
        return Err(ConfigError::new(message).into());
    }
    for config in &plan.configs {
        logging::make_dir(&config.log.dir, config.log.mode).map_err(|error| {
            cannot("log", &config.log.dir, error, "set HERD_LOG_DIR to another")
        })?;
    }
    if let Some(dir) = &flags.trace {
        fs::create_dir_all(dir)
            .map_err(|error| cannot("trace", dir, error, "choose another with --trace"))?;
    }
    Ok(())
}

/// Addresses that the servers to be stopped do not hold must be free, or they would be stopped for
/// nothing.
pub fn check_ports(plan: &Plan, stopping: &[String]) -> Result<(), Failure> {
    let mut ours = BTreeSet::new();
    for name in stopping {
        if let Sight::Up(status) = look(&plan.run_dir, name) {
            ours.extend([status.client_address.clone(), status.peer_address.clone()]);
            let Status { tls_address, web_address, operators_address, mqtt_address, .. } = *status;
            let others = [tls_address, web_address, operators_address, mqtt_address];
            ours.extend(others.into_iter().flatten());
        }
    }
    let addresses = plan
        .configs
        .iter()
        .flat_map(|config| config.addresses().into_iter().map(move |address| (config, address)));
    for (config, address) in addresses.filter(|(_, address)| !ours.contains(&address.to_string())) {
        if let Err(error) = TcpListener::bind(address) {
            let message = format!(
                "{} could not listen on {address} ({error}), so nothing has been stopped: free it, \
                 or choose another with --base-port or in herd.toml",
                config.name
            );
            return Err(Failure::new(Exit::Taken, message));
        }
    }
    Ok(())
}

pub fn launch_missing(
    out: &mut impl Write,
    plan: &Plan,
    flags: &StartFlags,
) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for config in &plan.configs {
        match look(&plan.run_dir, &config.name) {
            Sight::Up(status) if !status.draining => {
                writeln!(out, "{}", running_already(config, &status)?)
                    .map_err(|error| Failure::of_output(&error))?;
            }
            Sight::NotAnswering { name, pid } => {
                let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                let message =
                    format!("{name} runs{pid} but does not answer: `{} stop {name}` first", me());
                return Err(Failure::new(Exit::Unreachable, message));
            }
            Sight::Unreadable { name, why } => {
                let path = plan.run_dir.path().display();
                let message = format!("{name} cannot be looked at in {path} ({why})");
                return Err(Failure::new(Exit::CannotCreate, message));
            }
            _ => missing.push(config),
        }
    }
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopping))
            .map_err(|error| Failure::new(Exit::System, error.to_string()))?;
    }
    let mut started = Vec::new();
    let deadline = Instant::now() + START_TIMEOUT;
    let came_up = missing.iter().try_for_each(|config| {
        started.push(launch(config, flags)?);
        Ok(())
    });
    let came_up = came_up.and_then(|()| {
        started.iter_mut().try_for_each(|server| {
            await_answer(&plan.run_dir, server, deadline, &stopping)?;
            writeln!(out, "{}: started (pid {})", server.config.name, server.child.id())
                .and_then(|()| out.flush())
                .map_err(|error| Failure::of_output(&error))
        })
    });
    if let Err(failure) = came_up {
        say(&failure.message);
        roll_back(&mut started);
        if stopping.load(Ordering::Relaxed) {
            // As the signal would have ended it, so that a shell's loop ends as well.
            let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
        }
        return Err(Failure::new(failure.exit, ""));
    }
    if plan.is_whole {
        await_peers(plan, deadline, &stopping);
    }
    Ok(())
}

/// What there is to say of a server that runs.
fn running_already(config: &Config, status: &Status) -> Result<String, Failure> {
    let (name, wanted) = (&config.name, config.client_address.to_string());
    if status.client_address != wanted {
        let message = format!(
            "{name} runs already, but on {} and not on {wanted}: `{} stop` first, or give this \
             herd directories of its own with HERD_RUN_DIR and HERD_LOG_DIR",
            status.client_address,
            me()
        );
        return Err(Failure::new(Exit::Taken, message));
    }
    let pid = status.pid;
    if status.settings == config.fingerprint() {
        return Ok(format!("{name}: running already (pid {pid})"));
    }
    Ok(format!(
        "{name}: running already (pid {pid}), with other settings than these: `{} restart {name}` \
         puts these into force",
        me()
    ))
}

/// Becomes the program that is named behind it, without the files that our caller has open: a
/// server would keep them for as long as it lives, and with them locks and pipes. Only a shell can
/// close what it does not own, and only bash those above 9.
const WITHOUT_FILES: &str = r#"
for file in /dev/fd/*; do
    file=${file##*/}
    case $file in
        0 | 1 | 2 | *[!0-9]*) ;;
        *) eval "exec $file>&-" ;;
    esac
done
exec "$@""#;

/// A process group of its own keeps Ctrl-C here from reaching it.
fn launch<'a>(config: &'a Config, flags: &StartFlags) -> Result<Started<'a>, Failure> {
    let path = said(config);
    let cannot = |error: &io::Error| {
        let message = format!("{} cannot be written: {error}", path.display());
        Failure::new(Exit::CannotCreate, message + "; set HERD_LOG_DIR to another directory")
    };
    let file = logging::open_to_append(&path, config.log.mode).map_err(|error| cannot(&error))?;
    let said_from = file.metadata().map_err(|error| cannot(&error))?.len();
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::System, format!("herd does not find itself: {error}"))
    })?;
    let spawn = |command: &mut Command| {
        command.arg("serve").arg(&config.name).args(&flags.typed);
        command.args(config.trace.iter().flat_map(|path| ["--trace".as_ref(), path.as_os_str()]));
        command.env_remove("HERD_TRACE").env_remove("BASH_ENV");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?);
        command.process_group(0).spawn()
    };
    let mut shell = Command::new("bash");
    let child = match spawn(shell.args(["-c", WITHOUT_FILES, "bash"]).arg(&program)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => spawn(&mut Command::new(program)),
        spawned => spawned,
    };
    let child = child.map_err(|error| {
        Failure::new(Exit::System, format!("{} cannot be started: {error}", config.name))
    })?;
    Ok(Started { config, child, said_from })
}

fn said(config: &Config) -> PathBuf {
    config.log.dir.join(format!("{}.out", config.name))
}

fn await_answer(
    run_dir: &RunDir,
    server: &mut Started<'_>,
    deadline: Instant,
    stopping: &AtomicBool,
) -> Result<(), Failure> {
    let name = &server.config.name;
    loop {
        let status = run_dir.socket(name).and_then(|socket| ask(&socket));
        // Another server of this name may answer, one that was started by hand.
        if status.is_ok_and(|status| status.pid == server.child.id()) {
            return Ok(());
        }
        if stopping.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Failed, "told to stop"));
        }
        let ended = server.child.try_wait();
        let code = ended.ok().flatten().map(|status| status.code().unwrap_or_default());
        let message = match code {
            Some(_) => format!("{name} did not start; it said:{}", last_words(server)),
            None if Instant::now() > deadline => format!(
                "{name} does not answer after {} seconds; it said:{}",
                START_TIMEOUT.as_secs(),
                last_words(server)
            ),
            None => {
                thread::sleep(PAUSE);
                continue;
            }
        };
        return Err(Failure::new(code.map_or(Exit::Failed, Exit::of_server), message));
    }
}

/// The last lines that it has written since it was started, indented below a message.
fn last_words(server: &Started<'_>) -> String {
    let mut text = Vec::new();
    let read = File::open(said(server.config)).and_then(|mut file| {
        file.seek(SeekFrom::Start(server.said_from))?;
        file.read_to_end(&mut text)
    });
    if let Err(error) = read {
        return format!(" (its words cannot be read: {error})");
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    match shown {
        [] => " nothing".to_owned(),
        lines => lines.iter().map(|line| format!("\n    {line}")).collect(),
    }
}

/// A server that answers is up; a herd is up when its servers have found each other.
fn await_peers(plan: &Plan, deadline: Instant, stopping: &AtomicBool) {
    let here: BTreeSet<_> = plan.configs.iter().map(|config| &config.name).collect();
    let is_joined = |state| matches!(state, PeerState::Up | PeerState::Plain);
    let lacks_peers = |config: &&Config| {
        let status = plan.run_dir.socket(&config.name).and_then(|socket| ask(&socket));
        status.is_ok_and(|status| {
            status.peers.iter().any(|peer| here.contains(&peer.name) && !is_joined(peer.state))
        })
    };
    while let Some(config) = plan.configs.iter().find(lacks_peers) {
        if Instant::now() > deadline || stopping.load(Ordering::Relaxed) {
            say(&format!("{} has not found all its peers yet: see `{} status`", config.name, me()));
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// A start leaves nothing half done. Each of these is our child, so its number belongs to no other
/// process until it has been waited for.
fn roll_back(started: &mut Vec<Started<'_>>) {
    started.retain_mut(|server| matches!(server.child.try_wait(), Ok(None)));
    for server in started.iter() {
        let _ = kill_process(Pid::from_child(&server.child), Signal::TERM);
    }
    let longest = started.iter().map(|server| server.config.limits.drain).max();
    let deadline = Instant::now() + longest.unwrap_or_default() + Duration::from_secs(5);
    for server in started {
        let name = &server.config.name;
        while let Ok(None) = server.child.try_wait() {
            if Instant::now() > deadline {
                let _ = server.child.kill();
            }
            thread::sleep(PAUSE);
        }
        say(&format!("{name}: stopped again (pid {})", server.child.id()));
    }
}

/// What to type next.
fn suggest(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    let (Some(first), Some(last)) = (plan.configs.first(), plan.configs.last()) else {
        return Ok(());
    };
    let me = me();
    let mut address = first.client_address;
    if address.ip().is_unspecified() {
        address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (first, last) = (&first.name, &last.name);
    let tell = if first == last {
        format!("Tell {first} where you are, ask it what is near")
    } else {
        "Tell one server where you are, ask another what is near".to_owned()
    };
    writeln!(
        out,
        "\nReady. {tell}:\n    \
         {me} say {first} 'IAMAT kiwi +60.1699+24.9384 {now}'\n    \
         {me} say {last} 'WHATSAT kiwi 10 3'\n\
         or type lines yourself (Ctrl-C leaves):\n    \
         nc {} {}\n\
         Then: {me} status, {me} logs, {me} stop",
        address.ip(),
        address.port()
    )?;
    out.flush()
}

/// Messages that are no result go to standard error, which may be closed.
pub fn say(message: &str) {
    let _ = writeln!(io::stderr(), "herd: {message}");
}
