//! The output format of a command: `--format text`, `--format json`, or `--json` for short.

use clap::builder::EnumValueParser;
use clap::{Arg, ArgAction, ArgMatches, ValueEnum};

/// The output format. Flattened into a command's arguments, it adds its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

const FORMAT: &str = "format";
const JSON: &str = "json";

impl clap::Args for Format {
    fn augment_args(command: clap::Command) -> clap::Command {
        let format = Arg::new(FORMAT)
            .long(FORMAT)
            .value_name("FORMAT")
            .value_parser(EnumValueParser::<Self>::new())
            .help("Choose the output format");
        let json =
            Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).conflicts_with(FORMAT).help("Write JSON: short for `--format json`");
        command.arg(format).arg(json)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Format {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let format = matches.get_one::<Self>(FORMAT).copied().unwrap_or_default();
        Ok(if matches.get_flag(JSON) { Self::Json } else { format })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        format: Format,
    }

    fn parsed(arguments: &[&str]) -> Option<Format> {
        Line::try_parse_from([&["line"], arguments].concat()).ok().map(|line| line.format)
    }

    #[test]
    fn json_is_short_for_the_format_and_both_at_once_are_refused() {
        assert_eq!(parsed(&[]), Some(Format::Text));
        assert_eq!(parsed(&["--format", "text"]), Some(Format::Text));
        assert_eq!(parsed(&["--format", "json"]), Some(Format::Json));
        assert_eq!(parsed(&["--json"]), Some(Format::Json));
        assert_eq!(parsed(&["--json", "--format", "text"]), None);
        assert_eq!(parsed(&["--format", "xml"]), None);
    }
}
