//! A configuration of nats-server that fits a herd: what `herd example-nats` prints.

use std::io::{self, Write};

use super::exit::Failure;
use super::flags::HerdFlags;

/// # Errors
/// There is no such herd.
pub fn write(out: &mut impl Write, flags: &HerdFlags) -> Result<io::Result<()>, Failure> {
    let (herd, settings) = flags.which().herd(None)?;
    let subject = format!("{}.{}.>", settings.engine.subject, herd.id);
    Ok(out.write_all(NATS.replace("SUBJECT", &subject).as_bytes()))
}

const NATS: &str = "\
# nats-server.conf for one host of a herd. The nodes of all hosts are one cluster; servers speak to
# the node on their own host, in plain text.
host: 127.0.0.1
port: 4222
server_name: host-1

# A server that does not read is cut off after so much, or so long. It finds out what it has missed
# by itself, and others need not wait for it.
max_pending: 16MB
write_deadline: 5s
# From 2.10.26 on: others do not wait for it at all.
#no_fast_producer_stall: true
max_payload: 1MB

authorization {
  users = [
    # Put the password into a file that only the servers' user can read, and name that in [engine]:
    # user = \"herd\" and password_file = \"engine.password\".
    { user: herd, password: $HERD_NATS_PASSWORD
      permissions: { publish: \"SUBJECT\", subscribe: \"SUBJECT\" } }
    # Or a key for each server, by `nk -gen user -pubout`, whose seed is in nkey_file:
    #{ nkey: UABC..., permissions: { publish: \"SUBJECT\", subscribe: \"SUBJECT\" } }
  ]
}

# Other hosts. TLS between nodes is NATS' own: tls { cert_file: ..., key_file: ..., ca_file: ... }
#cluster {
#  name: herd
#  listen: 0.0.0.0:6222
#  routes: [ nats://host-2:6222, nats://host-3:6222 ]
#}
";
