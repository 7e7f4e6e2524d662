//! The flags of knobs, and the variables that stand in for them, as the knobs declare them.

use std::ffi::OsStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use herd::config::Settings;
use herd::config::knob::{Flag, Kind, Knob};
use herd::config::settings::{Given, knobs};

/// The knobs that were set, and to what.
#[derive(Clone, Debug, Default)]
pub struct KnobFlags(pub Vec<Given>);

impl Args for KnobFlags {
    fn augment_args(command: Command) -> Command {
        command.args(flagged().map(|(knob, flag)| arg(knob, flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KnobFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<KnobFlags, Error> {
        let given = flagged().filter_map(|(knob, flag)| {
            let value = matches.get_one(flag.long).cloned()?;
            Some(Given { knob, value })
        });
        Ok(KnobFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = KnobFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flagged() -> impl Iterator<Item = (&'static Knob, &'static Flag)> {
    knobs().filter_map(|knob| Some((knob, knob.flag.as_ref()?)))
}

fn arg(knob: &'static Knob, flag: &'static Flag) -> Arg {
    let check = |text: &OsStr| knob.set(&mut Settings::default(), text);
    let parser = OsStringValueParser::new().try_map(move |text| check(&text).map(|()| text));
    let is_switch = matches!(knob.kind, Kind::Switch { .. });
    let default = if is_switch { "off" } else { knob.default };
    let default = (!knob.is_optional()).then(|| format!(" [default: {default}]"));
    let arg = Arg::new(flag.long)
        .long(flag.long)
        .env(flag.variable)
        .hide_env_values(true)
        .value_name(flag.value)
        .value_parser(parser)
        .help(format!("{}{}", flag.help, default.unwrap_or_default()));
    if is_switch {
        arg.num_args(0..=1).default_missing_value("1").require_equals(true)
    } else {
        arg
    }
}
