//! Which herd is meant: a file's or a preset's, as the command line says.

use std::net::IpAddr;
use std::path::PathBuf;

use super::herd::LOOPBACK;
use super::settings::Given;
use super::{ConfigError, Herd, Settings, file, presets};

/// Which herd is meant, on which addresses, and how its servers know each other.
#[derive(Clone, Debug, Default)]
pub struct HerdSelector {
    /// A herd.toml. At most one of this and `preset` is given.
    pub config: Option<PathBuf>,
    /// A year.
    pub preset: Option<String>,
    /// First client port; for presets only.
    pub base_port: Option<u16>,
    /// Host to listen on, as `address::parse_host` gives it. A preset's servers share it; in a
    /// herd.toml each has an address that others dial, and this one concerns ours alone.
    pub bind: Option<String>,
    /// What flags and variables say of settings; it beats herd.toml.
    pub given: Vec<Given>,
    /// Where `log` and `run` are unless something else is said.
    pub home: Option<PathBuf>,
}

impl HerdSelector {
    /// The flags that mean this herd, each behind a space, for a command that is proposed.
    pub fn flags(&self) -> String {
        let config = self.config.iter().map(|path| format!(" --config {}", path.display()));
        let preset = self.preset.iter().map(|year| format!(" --preset {year}"));
        let base_port = self.base_port.iter().map(|port| format!(" --base-port {port}"));
        let bind = self.bind.iter().map(|host| format!(" --bind {host}"));
        config.chain(preset).chain(base_port).chain(bind).collect()
    }

    /// The herd that is meant. `name` finds the preset when neither file nor year is given.
    ///
    /// # Errors
    /// Mistakes in the file, an unknown year or name, a base port that does not fit.
    pub fn herd(&self, name: Option<&str>) -> Result<(Herd, Settings), ConfigError> {
        let is_preset = self.config.is_none();
        let usual = if is_preset { Settings::preset() } else { Settings::default() };
        let read = self.over(usual.clone(), name)?;
        if read.1.is_guarded() { self.over(usual.guarded(), name) } else { Ok(read) }
    }

    /// What the file and the flags say, over these settings.
    fn over(
        &self,
        mut settings: Settings,
        name: Option<&str>,
    ) -> Result<(Herd, Settings), ConfigError> {
        if let Some(home) = &self.home {
            settings.live_in(home);
        }
        let (herd, whose) = match (&self.config, &self.preset) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(
                    "--config (HERD_CONFIG) and --preset (HERD_PRESET) name two herds: \
                     leave one out",
                ));
            }
            (Some(path), None) => {
                if self.base_port.is_some() {
                    return Err(ConfigError::new(format!(
                        "--base-port (HERD_BASE_PORT) is for presets: {} names its own ports",
                        path.display()
                    )));
                }
                (file::read(path, &mut settings)?, path.display().to_string())
            }
            (None, year) => {
                let preset = match year {
                    Some(year) => presets::of_year(year)?,
                    None => presets::with_server(name)?,
                };
                let herd = presets::herd(preset, self.preset_host(), self.preset_port()?);
                (herd, format!("preset {}", preset.year))
            }
        };
        if let Some(name) = name
            && herd.member(name).is_none()
        {
            return Err(herd.lacks(name, &whose));
        }
        settings.take(&self.given)?;
        Ok((herd, settings))
    }

    /// Whether a flag or a variable sets this knob.
    pub(super) fn gives(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.knob.name == name)
    }

    /// Where a preset's servers find each other. `--bind 0.0.0.0` says nothing about that.
    fn preset_host(&self) -> &str {
        let bind = self
            .bind
            .as_deref()
            .filter(|host| !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()));
        bind.unwrap_or(LOOPBACK)
    }

    fn preset_port(&self) -> Result<u16, ConfigError> {
        let port = self.base_port.unwrap_or(presets::BASE_PORT);
        if port == 0 || port > presets::BASE_PORT_MAX {
            let max = presets::BASE_PORT_MAX;
            return Err(ConfigError::new(format!(
                "base port {port} does not fit: write 1 to {max}, \
                 so that five client ports and those 100 to 400 above them are free"
            )));
        }
        Ok(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_herd_is_named_at_a_time() {
        let refused = |selector: HerdSelector, part: &str| {
            let message = selector.herd(Some("Hill")).expect_err(part).to_string();
            assert!(message.contains(part), "{message}\n  lacks {part}");
        };
        let year = |year: &str| Some(year.to_owned());
        let default = HerdSelector::default;
        refused(
            HerdSelector { config: Some("x".into()), preset: year("2018"), ..default() },
            "leave one out",
        );
        refused(
            HerdSelector { config: Some("x".into()), base_port: Some(1), ..default() },
            "x names its own ports",
        );
        refused(
            HerdSelector { config: Some("no/herd.toml".into()), ..default() },
            "no/herd.toml cannot be read",
        );
        refused(
            HerdSelector { preset: year("2019"), ..default() },
            "preset 2018 has no server Hill: it has Goloman, Hands, ",
        );
        for base_port in [0, 65132] {
            refused(
                HerdSelector { base_port: Some(base_port), ..default() },
                "does not fit: write 1 to 65131",
            );
        }
    }
}
