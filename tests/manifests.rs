//! The manifests of `herd print kubernetes` by the rules that an operator would check them by:
//! sums of times, numbers that must agree, and what a cluster does while servers are not ready.
//!
//! What a key may be called and hold, a schema knows: `.ci/run` has it asked.

use std::process::Command;
use std::time::Duration;

use herd::config::{Settings, file};

/// All manifests, by their kind and name.
struct Manifests(Vec<String>);

/// How servers tell each other what is news: the port that is opened for it, and the flags.
const LINKS: (&str, u16, &[&str]) = ("peers", 12_100, &[]);
const NATS: (&str, u16, &[&str]) = ("engine", 6_222, &["--engine", "nats"]);
const BOTH: [(&str, u16, &[&str]); 2] = [LINKS, NATS];

impl Manifests {
    fn printed((_, _, flags): (&str, u16, &[&str])) -> Manifests {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let ended = command.args(["print", "kubernetes"]).args(flags).output().unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        Manifests(text.split("\n---\n").map(str::to_owned).collect())
    }

    fn of(&self, kind: &str, name: &str) -> &str {
        let is_it = |text: &&String| {
            let has = |line: &str| text.lines().any(|other| other == line);
            has(&format!("kind: {kind}")) && has(&format!("  name: {name}"))
        };
        self.0.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }
}

/// The lines below a key that are further to the right than it.
fn below<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| line.trim() != key);
    let depth = |line: &str| line.len() - line.trim_start().len();
    let own = lines.next().unwrap_or_else(|| panic!("there is no `{key}` in\n{text}"));
    lines.take_while(|line| line.is_empty() || depth(line) > depth(own)).map(str::trim).collect()
}

/// The number behind a key.
fn number(lines: &[&str], key: &str) -> u64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(key));
    line.and_then(|value| value.trim_start_matches(": ").parse().ok())
        .unwrap_or_else(|| panic!("there is no number `{key}` in {lines:?}"))
}

fn all(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn peers_find_each_other_before_they_are_ready_and_clients_find_the_ready() {
    for way in BOTH {
        let manifests = Manifests::printed(way);
        let peers = all(manifests.of("Service", "herd-peers"));
        for line in ["clusterIP: None", "publishNotReadyAddresses: true", "selector: {app: herd}"] {
            assert!(peers.contains(&line), "{line}");
        }
        let clients = all(manifests.of("Service", "herd"));
        assert!(clients.contains(&"selector: {app: herd}"));
        assert!(!clients.iter().any(|line| line.contains("publishNotReadyAddresses")));
        let set = all(manifests.of("StatefulSet", "herd"));
        for line in
            ["serviceName: herd-peers", "podManagementPolicy: Parallel", "matchLabels: {app: herd}"]
        {
            assert!(set.contains(&line), "{line}");
        }
        // A change of one port must be one of all places.
        for (name, port) in [("clients", 12_000), (way.0, way.1), ("operators", 12_300)] {
            let opened = format!("- {{name: {name}, containerPort: {port}}}");
            assert!(set.contains(&&*opened), "{opened}");
        }
        assert!(clients.contains(&"- {name: clients, port: 12000}"));
        let (name, port, _) = way;
        assert!(peers.contains(&&*format!("- {{name: {name}, port: {port}}}")), "{name}");
    }
}

#[test]
fn each_probe_asks_its_own_question_and_a_busy_server_is_not_dead() {
    for way in BOTH {
        let manifests = Manifests::printed(way);
        let set = manifests.of("StatefulSet", "herd");
        let probe = |key: &str, path: &str| {
            let lines = below(set, key);
            let get = format!("httpGet: {{path: {path}, port: operators}}");
            assert!(lines.contains(&&*get), "{key}: {lines:?}");
            number(&lines, "periodSeconds") * number(&lines, "failureThreshold")
        };
        let started = probe("startupProbe:", "/startupz");
        let ready = probe("readinessProbe:", "/readyz");
        let alive = probe("livenessProbe:", "/livez");
        // A server is ready alone after `ready_alone_after`, or has caught up.
        let limits = settings(&manifests).limits;
        let alone = limits.ready_alone_after.map_or(0, |time| time.as_secs());
        assert!(started > 2 * alone, "a server that waits for its peers is killed");
        assert!(alive >= 60 && ready < alive, "a busy server is killed before it is spared");
    }
}

/// What the ConfigMap's herd.toml says.
fn settings(manifests: &Manifests) -> Settings {
    let text = below(manifests.of("ConfigMap", "herd"), "herd.toml: |").join("\n");
    let mut settings = Settings::default();
    let herd = file::parse("herd.toml".as_ref(), &text, &mut settings).unwrap();
    assert_eq!(herd.members.len(), 5);
    settings
}

#[test]
fn a_pod_has_the_time_that_its_server_takes_to_go() {
    for way in BOTH {
        let manifests = Manifests::printed(way);
        let set = manifests.of("StatefulSet", "herd");
        let given = Duration::from_secs(number(&all(set), "terminationGracePeriodSeconds"));
        let limits = settings(&manifests).limits;
        let taken = limits.lame_duck_grace + limits.lame_duck + limits.drain;
        assert!(taken + Duration::from_secs(5) <= given, "{taken:?} of {given:?}");
        // The Service has to notice before clients are let go.
        let lines = below(set, "readinessProbe:");
        let noticed = number(&lines, "periodSeconds") * number(&lines, "failureThreshold");
        assert!(limits.lame_duck_grace.as_secs() >= noticed, "clients are still sent there");
        assert!(!set.contains("preStop"), "the process itself drains");
    }
}

#[test]
fn one_pod_goes_at_a_time_and_each_is_a_member() {
    for way in BOTH {
        let manifests = Manifests::printed(way);
        let set = manifests.of("StatefulSet", "herd");
        let budget = all(manifests.of("PodDisruptionBudget", "herd"));
        assert!(
            budget.contains(&"maxUnavailable: 1") && budget.contains(&"matchLabels: {app: herd}")
        );
        let pods = number(&all(set), "replicas");
        let file = below(manifests.of("ConfigMap", "herd"), "herd.toml: |");
        for pod in 0..pods {
            assert!(file.contains(&&*format!("name = \"herd-{pod}\"")), "{pod}");
            assert!(
                file.contains(&&*format!("clients = \"herd-{pod}.herd-peers:12000\"")),
                "{pod}"
            );
        }
        assert!(number(&all(set), "minReadySeconds") > 0);
    }
}

#[test]
fn a_container_may_do_no_more_than_it_must() {
    for way in BOTH {
        let manifests = Manifests::printed(way);
        let set = all(manifests.of("StatefulSet", "herd"));
        for line in [
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "allowPrivilegeEscalation: false",
            "capabilities: {drop: [ALL]}",
            "seccompProfile: {type: RuntimeDefault}",
            "automountServiceAccountToken: false",
            // What `config::key` takes from a group of a secret.
            "secret: {secretName: herd, defaultMode: 0440}",
            "fsGroup: 65532",
        ] {
            assert!(set.contains(&line), "{line}");
        }
        let policy = all(manifests.of("NetworkPolicy", "herd"));
        for port in ["clients", way.0, "operators"] {
            assert!(policy.contains(&&*format!("- {{port: {port}}}")), "{port}");
        }
    }
}

/// Goal: each server speaks to the node of its own pod, which is there before it and after it, and
/// the nodes of all pods are one cluster.
#[test]
fn with_an_engine_each_pod_has_a_node() {
    let manifests = Manifests::printed(NATS);
    let herd = below(manifests.of("ConfigMap", "herd"), "herd.toml: |");
    assert!(herd.contains(&"urls = [\"127.0.0.1:4222\"]"), "{herd:?}");
    assert!(!herd.iter().any(|line| line.starts_with("links")), "{herd:?}");
    let nats = below(manifests.of("ConfigMap", "herd"), "nats.conf: |");
    assert!(nats.contains(&"host: 127.0.0.1") && nats.contains(&"listen: 0.0.0.0:6222"));
    let set = manifests.of("StatefulSet", "herd");
    for pod in 0..number(&all(set), "replicas") {
        assert!(nats.contains(&&*format!("nats://herd-{pod}.herd-peers:6222")), "{pod}");
    }
    let node = below(set, "initContainers:");
    for line in ["- name: nats", "restartPolicy: Always", "readOnlyRootFilesystem: true"] {
        assert!(node.contains(&line), "{line}");
    }
    for links in ["12100", "peers}"] {
        assert!(manifests.0.iter().all(|text| !text.contains(links)), "{links}");
    }
}
