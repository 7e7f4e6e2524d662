//! One server's part of what a herd may spend.
//!
//! It is the only setting that is the herd's and not a server's: a day of a paid
//! service is to cost the same, however many servers ask. The servers do not tell each other what
//! they have spent, so each has an equal part. A herd whose clients are all at one server spends
//! less than it may; sharing the count in the flood would make every call news.

use super::herd::Herd;
use super::{ConfigError, Places};

/// What `name` runs with, whose herd may make `calls_per_day`.
///
/// # Errors
/// There are fewer calls than servers.
pub fn share(mut places: Places, herd: &Herd, name: &str) -> Result<Places, ConfigError> {
    let Some(calls) = places.calls.calls_per_day.filter(|_| places.source.is_remote()) else {
        return Ok(places);
    };
    let mut ours = herd.members.iter().filter(|member| member.peers.is_some());
    let servers = ours.clone().count().max(1);
    if calls < servers {
        return Err(ConfigError::new(format!(
            "calls_per_day = {calls} is to be shared by {servers} servers: set it to {servers} or \
             more, or choose another source of places"
        )));
    }
    let before_us = ours.position(|member| member.name == name).unwrap_or(0);
    places.calls.calls_per_day = Some(calls / servers + usize::from(before_us < calls % servers));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::super::HerdSelector;
    use super::super::PlacesSource;
    use super::super::layers::{Overrides, configure};
    use super::*;

    /// Goal: a day costs what it may cost, however many servers the herd has.
    #[test]
    fn a_budget_is_the_herds() {
        let shares = |calls: usize| {
            let share = |name: &str| {
                let selector =
                    HerdSelector { preset: Some("2020".to_owned()), ..HerdSelector::default() };
                let (herd, mut settings) = selector.herd(Some(name))?;
                settings.places.source = PlacesSource::Overpass;
                settings.places.calls.calls_per_day = Some(calls);
                let config = configure(name, herd, settings, &selector, Overrides::default())?;
                Ok::<_, ConfigError>(config.places.calls.calls_per_day.unwrap())
            };
            ["Hill", "Jaquez", "Smith", "Campbell", "Singleton"].map(|name| share(name).ok())
        };
        assert_eq!(shares(5), [Some(1); 5]);
        assert_eq!(shares(7), [2, 2, 1, 1, 1].map(Some));
        assert_eq!(shares(1000), [Some(200); 5]);
        assert_eq!(shares(4), [None; 5], "a server without a call would only refuse");
    }
}
