//! Manifests of a herd of five in a cluster: what `herd print kubernetes` prints. The file has
//! links; with an engine, these places of it are others.

use super::flags::Engine;

const LINKS: &str = include_str!("../ops/kubernetes.yaml");

/// Each stands in the manifests once, and what stands there with an engine.
const PLACES: [(&str, &str); 7] = [
    (
        "\
#     herd print kubernetes | kubectl apply -f -
#
# A server is named as its pod. Peers find each other through `herd-peers`, also while they are not
# ready, else nobody would ever be; clients go through `herd`, which leads to servers that are.
",
        "\
#     herd print kubernetes --engine nats | kubectl apply -f -
#
# A server is named as its pod, and speaks to the node of NATS in its pod. Nodes find each other
# through `herd-peers`, also while they are not ready, else nobody would ever be; clients go through
# `herd`, which leads to servers that are.
",
    ),
    (
        r#"
    links = [
        ["herd-0", "herd-1"],
        ["herd-1", "herd-2"],
        ["herd-2", "herd-3"],
        ["herd-3", "herd-4"],
        ["herd-4", "herd-0"],
        ["herd-0", "herd-2"],
        ["herd-1", "herd-3"],
    ]
"#,
        r#"

    [engine]
    urls = ["127.0.0.1:4222"]
"#,
    ),
    (
        "\
---
apiVersion: v1
kind: Service
metadata:
  name: herd-peers
",
        "  \
  # Only its own pod reaches a node, and only nodes reach each other (NetworkPolicy below).
  nats.conf: |
    host: 127.0.0.1
    port: 4222
    server_name: $POD_NAME
    # A server that does not read is cut off after so much, or so long. It finds out by itself what
    # it has missed.
    max_pending: 16MB
    write_deadline: 5s
    max_payload: 1MB
    cluster {
      name: herd
      listen: 0.0.0.0:6222
      routes: [
        nats://herd-0.herd-peers:6222
        nats://herd-1.herd-peers:6222
        nats://herd-2.herd-peers:6222
        nats://herd-3.herd-peers:6222
        nats://herd-4.herd-peers:6222
      ]
    }
---
apiVersion: v1
kind: Service
metadata:
  name: herd-peers
",
    ),
    ("    - {name: peers, port: 12100}\n", "    - {name: engine, port: 6222}\n"),
    (
        "      containers:\n",
        "      \
      # It is there before its server, and stays until that has said all: as a sidecar, which
      # clusters know from 1.29 on.
      initContainers:
        - name: nats
          image: nats:2.12
          restartPolicy: Always
          args: [--config, /etc/herd/nats.conf]
          env:
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
          ports:
            - {name: engine, containerPort: 6222}
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 512Mi}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - {name: config, mountPath: /etc/herd, readOnly: true}
      containers:
",
    ),
    ("            - {name: peers, containerPort: 12100}\n", ""),
    ("        - {port: peers}\n", "        - {port: engine}\n"),
];

/// The manifests.
pub fn manifests(engine: Option<Engine>) -> String {
    let places = match engine {
        Some(Engine::Nats) => &PLACES[..],
        None => &[],
    };
    places.iter().fold(LINKS.to_owned(), |text, (links, nats)| text.replacen(links, nats, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_there_once() {
        for (links, _) in PLACES {
            assert_eq!(LINKS.matches(links).count(), 1, "{links}");
        }
    }
}
