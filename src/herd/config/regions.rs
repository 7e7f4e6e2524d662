//! Which servers of a herd are in which region, where it has regions. Apart because a herd in one
//! place has none.

use std::collections::BTreeMap;

use super::ConfigError;
use super::herd::Herd;
use herd_core::nats_wire::is_token;

/// Where a server is, and where the others are. Course servers are nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    /// The region that this server is in; none if the herd has no regions.
    pub own: Option<String>,
    /// The servers in it, or all of them; itself among them.
    pub servers: Vec<String>,
    /// The other regions, and the servers in them.
    pub others: BTreeMap<String, Vec<String>>,
}

impl Regions {
    /// The regions as a server of this name sees them.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn of(herd: &Herd, name: &str, has_engine: bool) -> Result<Regions, ConfigError> {
        let ours = || herd.members.iter().filter(|member| member.peers.is_some());
        let Some((first, region)) = ours().find_map(|it| Some((&it.name, it.region.as_ref()?)))
        else {
            let servers = ours().map(|member| member.name.clone()).collect();
            return Ok(Regions { servers, ..Regions::default() });
        };
        if !has_engine {
            return Err(ConfigError::new(format!(
                "{first} is in the region {region}, and regions tell each other by an engine: name \
                 its `urls` in [engine], or leave out `region`"
            )));
        }
        let mut others = BTreeMap::<String, Vec<String>>::new();
        for member in ours() {
            let Some(region) = &member.region else {
                return Err(ConfigError::new(format!(
                    "{} is in no region, and {first} is: give it its `region`, or leave out all",
                    member.name
                )));
            };
            if !is_token(region.as_bytes()) {
                return Err(ConfigError::new(format!(
                    "the region `{region}` of {} would be part of a subject of the engine, and so \
                     may have only letters, digits, `-` and `_` of ASCII: choose another name",
                    member.name
                )));
            }
            others.entry(region.clone()).or_default().push(member.name.clone());
        }
        let own = ours().find(|member| member.name == name).and_then(|it| it.region.clone());
        let servers = own.as_ref().and_then(|own| others.remove(own)).unwrap_or_default();
        Ok(Regions { own, servers, others })
    }

    /// All regions and their servers, the same wherever one is.
    pub fn all(&self) -> BTreeMap<&str, &[String]> {
        let own = self.own.as_deref().map(|own| (own, &self.servers[..]));
        let others = self.others.iter().map(|(name, servers)| (&**name, &servers[..]));
        others.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets;
    use super::*;

    fn herd(regions: [&str; 5]) -> Herd {
        let mut herd =
            presets::herd(presets::of_year("2023").unwrap(), "127.0.0.1", presets::BASE_PORT);
        for (member, region) in herd.members.iter_mut().zip(regions) {
            member.region = (!region.is_empty()).then(|| region.to_owned());
        }
        herd
    }

    #[test]
    fn each_server_is_somewhere() {
        let herd = herd(["eu", "us", "eu", "us", "asia"]);
        let names =
            |at: &[usize]| Vec::from_iter(at.iter().map(|at| herd.members[*at].name.clone()));
        let regions = Regions::of(&herd, &herd.members[2].name, true).unwrap();
        assert_eq!(regions.own.as_deref(), Some("eu"));
        assert_eq!(regions.servers, names(&[0, 2]));
        let others = [("asia".to_owned(), names(&[4])), ("us".to_owned(), names(&[1, 3]))];
        assert_eq!(regions.others, BTreeMap::from(others));
        let elsewhere = Regions::of(&herd, &herd.members[4].name, true).unwrap();
        assert_eq!(regions.all(), elsewhere.all());
    }

    #[test]
    fn a_herd_need_have_none() {
        let herd = herd([""; 5]);
        let regions = Regions::of(&herd, "Bailey", false).unwrap();
        assert_eq!((regions.own, regions.servers.len(), regions.others.len()), (None, 5, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |regions, has_engine, part: &str| {
            let why = Regions::of(&herd(regions), "Bailey", has_engine).unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains('\n'), "{why}");
        };
        refused(["eu"; 5], false, "name its `urls` in [engine]");
        refused(["eu", "us", "", "us", "us"], true, "give it its `region`");
        refused(["eu", "us", "u s", "us", "us"], true, "choose another name");
    }
}
