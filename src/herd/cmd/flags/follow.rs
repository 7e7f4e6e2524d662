//! Flags of `herd follow`.

use clap::Args;

/// Which clients to follow, and what to do with what is told.
#[derive(Debug, Args)]
pub struct FollowFlags {
    /// The web port of a server, 200 above its client port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:12200")]
    pub at: String,
    /// Clients whose names begin so
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["id", "bbox", "fence"])]
    prefix: Option<String>,
    /// This client; may be given several times
    #[arg(long, value_name = "ID", conflicts_with_all = ["bbox", "fence"])]
    id: Vec<String>,
    /// Clients inside: west,south,east,north in degrees
    #[arg(long, value_name = "W,S,E,N", allow_hyphen_values = true, conflicts_with = "fence")]
    bbox: Option<String>,
    /// Who comes into an area and who leaves it: name:west,south,east,north
    #[arg(long, value_name = "NAME:W,S,E,N")]
    fence: Option<String>,
    /// Be told at most so often, in milliseconds: 50 at least
    #[arg(long, value_name = "MS", default_value_t = 250)]
    every: u64,
    /// End when everything that is known was told
    #[arg(long)]
    pub once: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// Run this with each change: its name is in HERD_EVENT, its data, as JSON, is standard input
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
    /// The secret of a token
    #[arg(long, value_name = "SECRET", env = "HERD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl FollowFlags {
    /// The query of the request.
    pub fn query(&self) -> String {
        let one = |name: &str, value: &String| format!("{name}={}&", escape(value));
        let mut query = String::new();
        query.extend(self.prefix.iter().map(|it| one("prefix", it)));
        query.extend(self.id.iter().map(|it| one("id", it)));
        query.extend(self.bbox.iter().map(|it| one("bbox", it)));
        query.extend(self.fence.iter().map(|it| one("fence", it)));
        query + &format!("every={}", self.every)
    }
}

fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() || b"-._~,:/".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    escaped.collect()
}
