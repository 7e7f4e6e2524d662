//! Makes a link that shows one client for a while: `share`. It is kept nowhere; a server knows it
//! by the herd's key.

use std::io::{self, Write};

use super::exit::Failure;
use super::flags::ShareFlags;
use super::start::say;
use super::token::{now, random};
use herd::config::herd::OtherPort;
use herd::config::{ConfigError, HerdKey};
use herd_web::access::{Link, Signer};

/// # Errors
/// The herd has no key, or asks nobody who they are.
pub fn share(out: &mut impl Write, flags: &ShareFlags) -> Result<io::Result<()>, Failure> {
    let (herd, mut settings) = flags.herd.which().herd(None)?;
    settings.key_file = flags.key_file.clone().or(settings.key_file);
    if flags.access.is_none() && settings.access.is_none() {
        let why = "this herd asks nobody who they are, so everybody who reaches it sees all: \
                   begin with `herd token add`, and name its file with --access (HERD_ACCESS), \
                   or a herd that has one with --config";
        return Err(ConfigError::new(why).into());
    }
    let keys = Vec::from_iter(settings.herd_keys()?.iter().map(HerdKey::reveal));
    let serial = random::<4>()?.map(|byte| format!("{byte:02x}")).concat();
    let (expires, client) = (now().plus(flags.time), flags.client.clone());
    let link = Link { serial, expires, client, blur: flags.blur };
    let text = Signer::new(&keys, &herd.id).sign(&link).ok_or_else(|| {
        ConfigError::new(
            "a link is signed with the herd's key, and it has none: make one with `herd keygen` \
             and name it with --key-file (HERD_KEY_FILE)",
        )
    })?;
    let door = |member: &herd::config::herd::Member| {
        member.door(OtherPort::Web).address(OtherPort::Web, &member.clients).ok().flatten()
    };
    let at = herd.members.iter().find_map(door).map(|address| format!("http://{address}"));
    let url = flags.url.clone().or(at).unwrap_or_default();
    say(&format!("`herd token revoke {}` takes this link back", link.serial));
    Ok(writeln!(out, "{}/map#{text}", url.trim_end_matches('/')))
}
