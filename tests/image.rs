//! The image of `herd print containerfile`, without a program that makes images: its files are put
//! together by the same command, and a server runs in them as in a container.

mod common;

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::operator::Operator;
use common::{Herd, skip};

/// Who runs in a container.
const USER: u32 = 65532;
/// What there may be beside the binary, which has a bound of its own: 12.5 of an image's 30 MB.
const SYSTEM_BYTES_MAX: u64 = 17_500_000;

fn shell(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

/// The files of the image, below `dir`; the containerfile makes them below `/image` and `/own`.
fn make(dir: &Path) -> PathBuf {
    let mut print = Command::new(env!("CARGO_BIN_EXE_herd"));
    let printed = print.args(["print", "containerfile"]).output().unwrap().stdout;
    let printed = String::from_utf8(printed).unwrap();
    let (_, command) = printed.split_once("\nRUN set -e;").unwrap();
    let (command, stage) = command.split_once("\n\nFROM scratch\n").unwrap();
    assert!(stage.contains("COPY --from=system /image /\n"), "{stage}");
    assert!(stage.contains(&format!("COPY --from=system --chown={USER}:{USER} /own /\n")));
    let [image, own] = ["image", "own"].map(|name| dir.join(name));
    fs::create_dir_all(image.join("usr/bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_herd"), image.join("usr/bin/herd")).unwrap();
    let command = command.replace("/image", image.to_str().unwrap());
    assert!(shell(&format!("set -e;{}", command.replace("/own", own.to_str().unwrap()))));
    for kept in ["run/herd", "var/lib/herd"] {
        chown(own.join(kept), Some(USER), Some(USER)).unwrap();
    }
    assert!(shell(&format!("cp -a {}/. {}", own.display(), image.display())));
    image
}

fn bytes(dir: &Path) -> u64 {
    let of_entry = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        it if it.is_dir() => bytes(&entry.path()),
        it => it.len(),
    };
    fs::read_dir(dir).unwrap().map(|entry| of_entry(entry.unwrap())).sum()
}

/// Goal: the image is small, and a server runs in it as another user who can write its own files
/// and no others; it finds hosts by their names.
#[test]
fn an_image_has_what_a_server_needs() {
    if !rustix::process::geteuid().is_root() || !shell("unshare --mount ldd /bin/sh >/dev/null") {
        return skip("an image is tried as root only, with unshare and ldd");
    }
    let mut herd = Herd::of_year("2023");
    let image = make(herd.dir());
    let binary = fs::metadata(image.join("usr/bin/herd")).unwrap().len();
    let system = bytes(&image) - binary;
    assert!(system <= SYSTEM_BYTES_MAX, "{system} bytes beside the binary");

    // What runs containers brings these.
    fs::write(image.join("etc/hosts"), "127.0.0.1 somewhere\n").unwrap();
    let root = image.display();
    let enter = format!(
        "mount --bind {root} {root} && mount --bind {root}/run/herd {root}/run/herd && \
         mount --bind {root}/var/lib/herd {root}/var/lib/herd && \
         mount -o remount,bind,ro {root} && exec chroot --userspec={USER}:{USER} {root} \
         /usr/bin/herd \"$@\""
    );
    let inside = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &enter, "herd"]).env_clear();
        command.env("PATH", std::env::var("PATH").unwrap()).env("HERD_LOG_DIR", "-");
        command.env("HERD_RUN_DIR", "/run/herd").env("HERD_JOURNAL_DIR", "/var/lib/herd");
        command.env("HERD_KEEP", "written").current_dir("/");
        command
    };
    let base = herd.port("Bailey").to_string();
    let mut server = inside();
    server.args(["serve", "Bailey", "--preset", "2023", "--base-port", &base]);
    server
        .args(["--log-level", "events"])
        .stderr(fs::File::create(herd.path("Bailey.err")).unwrap());
    std::os::unix::fs::symlink(image.join("run/herd"), herd.path("run")).unwrap();
    herd.launch("Bailey", server);
    let answer = Operator::connect(herd.operators_port("Bailey")).get("/livez");
    assert_eq!(answer.status, 200);
    let load = ["bench", "--connect", &format!("somewhere:{base}"), "-c", "1", "-s", "0.1"];
    let load = inside().args(load).output().unwrap();
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
}
