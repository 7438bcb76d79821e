//! `--limit`: caps on what an archive may claim, raised or lowered by the user.

use std::fmt::Write as _;

use isptar_core::{LimitName, Limits, Raise};

/// The limits of a command that reads archives.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct LimitArgs {
    /// Let an archive claim more, or less, than is usual: segments=200000, pax=4M
    #[arg(
        long = "limit",
        value_name = "NAME=VALUE",
        value_parser = parse,
        display_order = 90,
        long_help = long_help()
    )]
    limits: Vec<(LimitName, u64)>,
}

impl LimitArgs {
    /// Returns the limits in force: the defaults, and what was given.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for &(name, value) in &self.limits {
            limits.set(name, value);
        }
        limits
    }
}

/// Returns what the user can do about a limit.
pub(crate) fn hint(raise: Raise) -> String {
    format!("raise it with --limit {}={}", raise.name.as_str(), raise.to)
}

fn long_help() -> String {
    let mut text = "\
Let an archive claim more, or less, than is usual. The limits keep a hostile archive from taking \
all memory; an error that one of them causes names it. VALUE may end in K, M or G (of 1024). May \
be given several times. NAME, and what is usual:"
        .to_owned();
    for name in LimitName::ALL {
        let usual = with_unit(Limits::default().get(name));
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {:14}{usual:>6}  {}", name.as_str(), meaning(name));
    }
    text
}

/// Returns what a limit caps.
fn meaning(name: LimitName) -> &'static str {
    match name {
        LimitName::Pax => "bytes of the PAX records of a member",
        LimitName::Line => "bytes of a line of the listing",
        LimitName::Path => "bytes of a name or link target",
        LimitName::Components => "levels of a name",
        LimitName::Listing => "bytes of the listing of a classic archive",
        LimitName::ListingRatio => "times that listing and tables grow when unpacked",
        LimitName::Segments => "segments of a sparse file",
        LimitName::Info => "bytes of the archive info",
        LimitName::Group => "bytes before a member in the stream of a group",
        LimitName::Chunk => "bytes of a chunk of a big file",
        LimitName::UnknownKeys => "keys of an entry that are not known",
        LimitName::Tables => "bytes of the tables",
        LimitName::Bases => "bases of an archive",
        _ => "",
    }
}

fn with_unit(value: u64) -> String {
    for (shift, unit) in [(30, 'G'), (20, 'M'), (10, 'K')] {
        if value >> shift > 0 && value.is_multiple_of(1 << shift) {
            return format!("{}{unit}", value >> shift);
        }
    }
    value.to_string()
}

fn parse(text: &str) -> Result<(LimitName, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as pax=4M")?;
    let known = LimitName::ALL.into_iter().find(|known| known.as_str() == name);
    let known = known.ok_or_else(|| {
        let names = LimitName::ALL.map(LimitName::as_str);
        format!("there is no limit {name:?}, only {}", names.join(", "))
    })?;
    Ok((known, parse_value(value)?))
}

/// Reads a number of bytes: digits, and K, M or G of 1024.
pub(crate) fn parse_value(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>());
    match number {
        Some(Ok(number)) => {
            number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is 2^64 or more"))
        }
        _ => Err(format!("{text:?} is not a number below 2^64, K, M or G may follow it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_given_by_name_and_the_last_counts() {
        let args: LimitArgs =
            crate::cli::parse_args(&["--limit", "pax=4M", "--limit=line=1g", "--limit", "pax=9"])
                .unwrap();
        let limits = args.limits();
        assert_eq!((limits.pax, limits.line), (9, 1 << 30));
        assert_eq!(limits.path, Limits::default().path);
    }

    #[test]
    fn every_limit_has_its_own_field() {
        let mut limits = Limits::default();
        for (value, name) in (1000..).zip(LimitName::ALL) {
            let text = format!("{}={value}", name.as_str());
            let (parsed, number) = parse(&text).unwrap();
            limits.set(parsed, number);
        }
        let values = LimitName::ALL.map(|name| limits.get(name));
        assert!(values.iter().copied().eq(1000..1013), "{values:?}");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["pax", "pax=", "pax=-1", "pax=1T", "pax=M", "pax=17179869184G", "PAX=1", "=1", "pax=é"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("size=1").unwrap_err().contains("segments"));
    }

    #[test]
    fn the_help_lists_all_limits() {
        let help = long_help();
        for line in
            ["\n  pax               1M  bytes of the PAX", "\n  components        8K", "256"]
        {
            assert!(help.contains(line), "{help}");
        }
        assert!(LimitName::ALL.iter().all(|&name| !meaning(name).is_empty()));
    }
}
