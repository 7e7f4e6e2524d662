//! Which client a topic is, and which topics a filter asks for.
//!
//! The first word of a topic is what an app calls its root, `owntracks` if nothing else is set, and
//! says nothing: behind it stands the name of a client, as the web port takes it from OwnTracks. A
//! subscriber hears of clients under the root that its filter names.

use crate::client::{self, unescape};
use crate::report::Unusable;
use crate::seen::shown;

/// The root under which those hear about clients whose filter begins with a wildcard.
const ROOT: &str = "owntracks";
/// Longest filter, in bytes.
const FILTER_BYTES_MAX: usize = 256;

/// The client of a topic, as IAMAT spells it.
///
/// # Errors
/// The topic has one word only, or a name that is too long. Topics that begin with `$` are a
/// server's own.
pub fn client_of(topic: &str) -> Result<String, Unusable> {
    let named = topic.split_once('/').filter(|(root, _)| !root.starts_with('$'));
    client::spell(named.map_or("", |(_, name)| name))
}

/// The topic of a client, without its root. `None` for a client that no topic can name: there are
/// names that are no text, or have the wildcards in them.
pub fn topic_of(client: &[u8]) -> Option<String> {
    let topic = String::from_utf8(unescape(&shown(client))).ok()?;
    let is_topic = !topic.contains(['+', '#', '\0']);
    let is_of_it = |topic: &String| client::spell(topic).is_ok_and(|it| it.as_bytes() == client);
    Some(topic).filter(|topic| is_topic && is_of_it(topic))
}

/// What a subscriber asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: Box<str>,
    /// Where its second level begins; `None` if it asks for no client.
    rest: Option<usize>,
}

impl Filter {
    /// Reads a filter (4.7.1). `None` if it is none: a wildcard is a level of its own, and `#` is
    /// the last one.
    pub fn parse(text: &str) -> Option<Filter> {
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_level = match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                level => !level.contains(['+', '#']),
            };
            if !is_level {
                return None;
            }
        }
        if text.is_empty() || text.len() > FILTER_BYTES_MAX {
            return None;
        }
        let rest = match text.split_once('/') {
            Some((root, _)) => Some(root.len() + 1),
            None => (text == "#").then_some(0),
        };
        let rest = rest.filter(|_| !text.starts_with('$'));
        Some(Filter { text: text.into(), rest })
    }

    /// The filter as it was asked for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it asks for any client at all.
    pub fn asks_for_clients(&self) -> bool {
        self.rest.is_some()
    }

    /// The first word of what is told by this filter.
    pub fn root(&self) -> &str {
        match self.text.split('/').next() {
            Some(root) if !root.contains(['+', '#']) => root,
            _ => ROOT,
        }
    }

    /// The one client that it asks for, as IAMAT spells it, if it has no wildcard.
    pub fn client(&self) -> Option<String> {
        self.rest().filter(|rest| !rest.contains(['+', '#'])).and_then(|it| client::spell(it).ok())
    }

    /// Whether it asks for this topic, which is without its root (4.7.2).
    pub fn matches(&self, topic: &str) -> bool {
        let Some(rest) = self.rest() else { return false };
        let mut levels = topic.split('/');
        for wanted in rest.split('/') {
            if wanted == "#" {
                return true;
            }
            let is_there = |level: &str| wanted == "+" || wanted == level;
            if !levels.next().is_some_and(is_there) {
                return false;
            }
        }
        levels.next().is_none()
    }

    fn rest(&self) -> Option<&str> {
        self.rest.map(|from| &self.text[from..])
    }
}
