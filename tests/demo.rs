//! `herd demo`, as somebody types it who wants to see a herd at work.

mod common;

use std::process::{Command, Output, Stdio};

use common::{Herd, PLACELESS, await_some, until};
use rustix::process::{Pid, Signal, kill_process};

fn demo(herd: &Herd, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.current_dir(herd.dir()).args(["demo", "--config", "herd.toml"]).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it printed, and its exit code.
fn ended(output: Output) -> (Option<i32>, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Goal: a hundred clients move, whatever becomes of a server, until Ctrl-C. Method: two servers,
/// of which one is killed meanwhile.
#[test]
fn clients_move_until_they_are_told_to_end() {
    let mut herd = Herd::of_file(&["Hill", "Dale"], &[("Hill", "Dale")], "");
    herd.start_all(PLACELESS);
    herd.until_joined();
    let demo = demo(&herd, &[]).spawn().unwrap();
    let pid = Pid::from_child(&demo);
    until("all are known", || herd.status("Hill").clients_known == 100);
    let ferry = || herd.held("Hill", "demo/ferry-0");
    let first = await_some("the ferry", ferry);
    until("the ferry has left", || ferry().is_some_and(|now| now != first));
    let parked = await_some("what has stopped", || herd.held("Hill", "demo/walker-99"));
    herd.kill("Dale");
    // A client of the server that is gone is heard by the other one.
    let is_heard_by_hill = |line: String| line.contains("AT Hill ");
    for client in ["demo/ferry-0", "demo/car-1", "demo/walker-23"] {
        until("it is heard again", || herd.held("Hill", client).is_some_and(is_heard_by_hill));
    }
    assert_eq!(herd.held("Hill", "demo/walker-99"), Some(parked));
    kill_process(pid, Signal::INT).unwrap();
    let (code, said) = ended(demo.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("100 clients move about Helsinki, and report to Hill and Dale.\n"));
    let map = format!("See them at http://127.0.0.1:{}/map", herd.web_port("Hill"));
    assert!(said.contains(&map), "{said}");
    assert!(said.lines().last().unwrap().contains(" reports in "), "{said}");
    assert_eq!(herd.status("Hill").clients_known, 100);
}

/// Goal: it ends by itself if that is wanted, and says what to do where no herd runs.
#[test]
fn it_needs_a_herd_and_can_have_an_end() {
    let mut herd = Herd::of_one("", PLACELESS);
    let run = |herd: &Herd, flags: &[&str]| ended(demo(herd, flags).output().unwrap());
    let (code, said) = run(&herd, &["--clients", "3", "--seconds", "1.5"]);
    assert!(code == Some(0) && said.contains("3 clients move"), "{said}");
    until("it has hung up", || herd.status("Hill").connections == 0);
    assert_eq!(herd.status("Hill").clients_known, 3);
    assert_eq!(run(&herd, &["--clients", "10001"]).0, Some(2));
    herd.kill("Hill");
    let (code, said) = run(&herd, &[]);
    let hint = "start them with `herd start --config herd.toml`";
    assert!(code == Some(69) && said.contains(hint), "{said}");
}
