//! The command `herd bench`: finds the server, shows how it goes, prints what came of it.
//!
//! The load itself knows addresses and process ids but neither names nor terminals.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;
use std::{fs, thread};

use super::exit::{Exit, Failure};
use herd::run_dir::{Holder, RunDir};
use herd_load::{CLIENTS_MAX, Dialect, Plan, Progress};

use super::flags::BenchFlags;
use super::million::{READY, million};
use super::query::{Sight, look};

/// One load of many on a machine: it takes no more turns than it must.
const LOOKS_EVERY: Duration = Duration::from_millis(10);

/// Loads a server as the flags say.
///
/// # Errors
/// There is no such server, it cannot be loaded, some answers were wrong, or `out` cannot be
/// written.
pub fn bench(out: &mut impl Write, flags: &BenchFlags) -> Result<Exit, Failure> {
    if flags.million {
        return million(out, flags);
    }
    let plan = plan(flags)?;
    if flags.on_cue {
        return bench_on_cue(out, &plan);
    }
    let shows = io::stderr().is_terminal();
    let findings = herd_load::run(&plan, |progress| {
        if shows {
            show(&plan, progress);
        }
    });
    if shows {
        // The line of progress is erased.
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let findings = findings?;
    let written = if flags.json {
        serde_json::to_writer_pretty(&mut *out, &findings)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        write!(out, "{findings}")
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    match findings.errors_total {
        0 => Ok(Exit::Success),
        errors => {
            let first = findings.first_error.as_deref().unwrap_or("an answer is missing");
            let message = format!("{errors} errors, so the figures are worth nothing: {first}");
            Err(Failure::new(Exit::Unreachable, message))
        }
    }
}

/// One load of several: the process that has begun them says when.
fn bench_on_cue(out: &mut impl Write, plan: &Plan) -> Result<Exit, Failure> {
    let out = RefCell::new(out);
    let mut written = Ok(());
    let say = |line: &str| {
        let mut out = out.borrow_mut();
        writeln!(out, "{line}").and_then(|()| out.flush())
    };
    let cue = || {
        // If it cannot be said, nobody is there, and the input has ended too.
        let _ = say(READY);
        let _ = io::stdin().read_line(&mut String::new());
    };
    herd_load::run_on_cue(plan, cue, |voice| {
        written = serde_json::to_string(&voice).map_err(io::Error::from).and_then(|it| say(&it));
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
    })?;
    written.map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

fn plan(flags: &BenchFlags) -> Result<Plan, Failure> {
    let (address, found) = target(flags)?;
    let usage = |message| Err(Failure::new(Exit::Usage, message));
    if flags.whatsat > 0 && flags.dialect() != Dialect::Herd {
        return usage("--whatsat is for --protocol herd");
    }
    if flags.connections() == 0 && flags.idle == 0 {
        return usage("without connections there is nothing to measure: leave --connections out");
    }
    let clients = flags.clients_from..flags.clients_from.saturating_add(flags.clients);
    if clients.end > CLIENTS_MAX {
        return usage(
            "there are no clients above 1,000,000: make --clients or --clients-from less",
        );
    }
    Ok(Plan {
        address,
        pids: if flags.pid.is_empty() { found.into_iter().collect() } else { flags.pid.clone() },
        dialect: flags.dialect(),
        pace: flags.pace(),
        connections: flags.connections(),
        pipeline: flags.pipeline,
        clients,
        whatsat_percent: flags.whatsat,
        idle: flags.idle,
        is_tls: flags.tls,
        is_awake: !flags.asleep && flags.connections() > 0 && !has_one_core(),
        looks_every: flags.on_cue.then_some(LOOKS_EVERY),
        warm_up: flags.warm_up,
        duration: flags.seconds(),
    })
}

/// Then a load that spins would keep it from the server. A load that may run on one core only is
/// another matter: the server is expected on the others.
fn has_one_core() -> bool {
    match fs::read_to_string("/sys/devices/system/cpu/online") {
        Ok(online) => online.trim() == "0",
        Err(_) => thread::available_parallelism().is_ok_and(|cores| cores.get() == 1),
    }
}

/// Where the server listens, and its process if that is known by its name.
fn target(flags: &BenchFlags) -> Result<(SocketAddr, Option<u32>), Failure> {
    let unreachable = |message: String| Failure::new(Exit::Unreachable, message);
    let Some(name) = &flags.name else {
        let address = flags.connect.as_ref().expect("invariant: clap wants a name or this");
        let address = address.resolve();
        let address = address.map_err(|error| unreachable(format!("no such host: {error}")))?;
        return Ok((address, None));
    };
    let (herd, settings) = flags.herd.which().herd(Some(name))?;
    let member =
        herd.member(name).expect("invariant: HerdSelector::herd gives a herd with this name");
    let clients = &member.clients;
    let address = clients
        .resolve()
        .map_err(|error| unreachable(format!("{name} cannot be found at {clients}: {error}")))?;
    let run_dir = flags.run_dir.clone().unwrap_or(settings.run_dir);
    // Not the server's account, or no /proc: then the costs are unknown, but there is a load all
    // the same. Another herd's server of this name is not the one that is loaded.
    let run_dir = RunDir::new(run_dir);
    let holder = match look(&run_dir, name) {
        Sight::Up(status) if status.client_address == address.to_string() => {
            Some(run_dir.check(name, status.pid))
        }
        _ => None,
    };
    let pid = match holder {
        Some(Holder::Process(pid) | Holder::OfAnotherUser(pid)) => Some(pid),
        Some(Holder::Elsewhere) | None => None,
    };
    Ok((address, pid.filter(|_| cfg!(target_os = "linux"))))
}

/// A line of progress, rewritten in place.
fn show(plan: &Plan, progress: Progress) {
    let seconds = progress.elapsed.as_secs_f64();
    let rate = progress.answers as f64 / seconds.max(f64::MIN_POSITIVE);
    let whole = plan.duration.as_secs_f64();
    // It does no harm if it cannot be shown.
    let _ =
        write!(io::stderr(), "\r\x1b[K{seconds:.1} of {whole:.1} s: {rate:.0} answers a second");
}
