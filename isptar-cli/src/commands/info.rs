//! `isptar info`: what an archive is.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use isptar_core::format::tables::Base;
use isptar_core::format::text::digest_text;
use isptar_core::path::printable;
use isptar_core::rewrite::parts_of;
use isptar_core::{Damage, Error};

use super::open::OpenArgs;
use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::input::{self, Foreign, Input, Listed, Packing, is_stdin, shown};
use crate::json;
use crate::output::{date_time, percent, sanitize, size};
use crate::ui::Ui;

/// Tell what an archive is.
///
/// Of an archive with a listing only the end is read; any other tar is read from front to back.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Archive to look at; - is standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    open: OpenArgs,
}

const EXAMPLES: &str = "\
Examples:
  isptar info home.tar.gz
  isptar info --json home.tar.gz | jq .identity";

/// What is known of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Facts {
    name: String,
    kind: Kind,
    entries: u64,
    content_size: u64,
    /// Absent of what is read from a pipe.
    archive_size: Option<u64>,
    listing_size: Option<u64>,
    listing_real_size: Option<u64>,
    identity: Option<[u8; 32]>,
    created: Option<u64>,
    tool: Option<String>,
    /// Names of the parts of a merged archive.
    parts: Vec<Vec<u8>>,
    incomplete: bool,
    /// It is a listing alone.
    is_listing: bool,
    bases: Vec<BaseFacts>,
    /// How many slices it is in, and how many of these are not here.
    slices: Option<(u64, u64)>,
}

/// What is known of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BaseFacts {
    depth: u32,
    name: String,
    identity: [u8; 32],
    /// Why it cannot be read.
    problem: Option<String>,
}

impl BaseFacts {
    fn of(archive: &Listed) -> Vec<Self> {
        let fact = |base: &Base| Self {
            depth: base.depth,
            name: base.shown_name(),
            identity: base.identity,
            problem: match archive.at_depth(base.depth) {
                Err(Error::NoBase { problem, .. }) => Some(problem.to_string()),
                Err(error) => Some(failure::chain(&error)),
                Ok(_) => None,
            },
        };
        archive.tables().bases.iter().map(fact).collect()
    }

    fn json(&self) -> json::Object {
        let mut object = json::Object::new();
        object.insert("depth".into(), self.depth.into());
        object.insert("name".into(), self.name.as_str().into());
        object.insert("identity".into(), digest_text(&self.identity).into());
        object.insert("found".into(), self.problem.is_none().into());
        if let Some(problem) = &self.problem {
            object.insert("problem".into(), problem.as_str().into());
        }
        object
    }
}

/// What kind of archive it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// Ours, of this format.
    Isptar(u64),
    /// The original program's.
    #[default]
    Classic,
    /// Ours, read from front to back.
    Stream,
    /// Another program's.
    Foreign(Packing),
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Isptar(_) | Self::Stream => "isptar",
            Self::Classic => "classic",
            Self::Foreign(_) => "foreign",
        }
    }
}

/// Runs `isptar info`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Exit, Failure> {
    let mut exit = Exit::Good;
    let _signals = args.open.watch()?;
    let facts = match input::open(&args.archive, &args.open, ui)? {
        Input::Listed(archive) => Facts::listed(&args.archive, &archive)
            .map_err(|failure| failure.named(&args.archive))?,
        Input::Foreign(mut tar, packing) => {
            let facts = Facts::foreign(&args.archive, &mut tar, packing, ui)
                .map_err(|failure| failure.named(&args.archive))?;
            exit = Exit::Incomplete.when(u64::from(tar.damage().is_some()));
            exit = exit.max(input::check_end(&tar, &args.archive, ui));
            facts
        }
    };
    let mut out = ui.out()?;
    if args.json {
        out.put(&json::line(facts.json()))?;
    } else {
        out.put(facts.table().as_bytes())?;
    }
    out.finish()?;
    Ok(exit)
}

impl Facts {
    /// Returns the names of the parts, escaped for messages.
    fn part_names(&self) -> Vec<String> {
        self.parts.iter().map(|name| printable(name)).collect()
    }

    fn listed(path: &Path, archive: &Listed) -> Result<Self, Failure> {
        let info = archive.info();
        let kind = match info.format {
            Some(format) if !archive.is_classic() => Kind::Isptar(format),
            _ => Kind::Classic,
        };
        let (entries, content_size) = match (kind, info.content_size) {
            (Kind::Isptar(_), Some(size)) => (info.entries, size),
            // Classic archives tell neither.
            _ => archive.entries().try_fold((0u64, 0u64), |(count, size), entry| {
                let more = entry?.kind.size();
                Ok::<_, Failure>((count.saturating_add(1), size.saturating_add(more)))
            })?,
        };
        Ok(Self {
            name: shown(path),
            kind,
            entries,
            content_size,
            archive_size: Some(archive.size()),
            listing_size: Some(info.listing_size),
            listing_real_size: Some(info.listing_real_size),
            identity: info.listing_sha256,
            created: info.created,
            tool: info.tool.clone(),
            incomplete: info.incomplete,
            is_listing: archive.is_listing(),
            bases: BaseFacts::of(archive),
            parts: parts_of(archive)?.into_iter().map(|part| part.name).collect(),
            slices: archive
                .slices()
                .filter(|set| !set.is_whole())
                .map(|set| (set.count(), set.missing().len() as u64)),
        })
    }

    fn foreign(path: &Path, tar: &mut Foreign, packing: Packing, ui: &Ui) -> Result<Self, Failure> {
        let mut facts = Self { name: shown(path), kind: Kind::Foreign(packing), ..Self::default() };
        loop {
            match tar.next() {
                Ok(Some(scanned)) => {
                    facts.entries += 1;
                    let more = scanned.entry().kind.size();
                    facts.content_size = facts.content_size.saturating_add(more);
                }
                Ok(None) => break,
                Err(error) if error.is_damage() => match tar.damage() {
                    Some(Damage { path: Some(path), .. }) => ui.member_error(path, &error),
                    Some(damage) => ui.damage(&damage.range, &error),
                    None => ui.failure(&error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        if tar.is_ours() {
            facts.kind = Kind::Stream;
            facts.incomplete = !tar.lost().is_empty();
        }
        if !is_stdin(path) {
            let file = fs::metadata(path).ok().filter(fs::Metadata::is_file);
            facts.archive_size = file.map(|metadata| metadata.len());
        }
        Ok(facts)
    }

    fn table(&self) -> String {
        let kind = match self.kind {
            _ if self.is_listing => "listing of an isptar archive, without its members".into(),
            Kind::Isptar(format) => format!("isptar archive, format {format}"),
            Kind::Stream => "isptar archive, read from front to back".into(),
            Kind::Classic => "classic isptar archive".into(),
            Kind::Foreign(packing) => format!("archive of another program ({})", packing.name()),
        };
        let bytes = |bytes: u64| match bytes {
            0..1024 => size(bytes),
            bytes => format!("{} ({bytes} bytes)", size(bytes)),
        };
        let listing = match (self.listing_size, self.listing_real_size) {
            (Some(packed), Some(real)) => Some(format!("{}, {} of text", size(packed), size(real))),
            _ => None,
        };
        let created = self.created.and_then(|created| i64::try_from(created).ok());
        let slices = self.slices.map(|(count, missing)| match missing {
            0 => count.to_string(),
            missing => format!("{count}, {missing} of them missing or of another length"),
        });
        let rows = [
            ("archive", Some(self.name.clone())),
            ("kind", Some(kind)),
            ("entries", Some(self.entries.to_string())),
            ("contents", Some(bytes(self.content_size))),
            ("size", self.archive_size.map(bytes)),
            ("slices", slices),
            ("ratio", self.archive_size.map(|size| percent(size, self.content_size))),
            ("listing", listing.or_else(|| Some("none".into()))),
            ("identity", self.identity.as_ref().map(digest_text)),
            ("created", created.map(|created| format!("{} UTC", date_time(created)))),
            ("made by", self.tool.as_deref().map(sanitize)),
            ("parts", (!self.parts.is_empty()).then(|| self.part_names().join(", "))),
            (
                "incomplete",
                self.incomplete.then(|| "yes: something could not be read or saved".into()),
            ),
        ];
        let mut table = String::new();
        for (key, value) in rows {
            if let Some(value) = value {
                let _ = writeln!(table, "{:<12}{value}", format!("{key}:"));
            }
        }
        for base in &self.bases {
            let found = base.problem.as_deref().unwrap_or("found");
            let BaseFacts { depth, name, identity, .. } = base;
            let identity = digest_text(identity);
            let _ = writeln!(table, "{:<12}{depth}: {name} {identity} ({found})", "base:");
        }
        table
    }

    fn json(&self) -> json::Object {
        let mut object = json::object("info");
        object.insert("archive".into(), self.name.as_str().into());
        object.insert("kind".into(), self.kind.word().into());
        if let Kind::Isptar(format) = self.kind {
            object.insert("format".into(), format.into());
        }
        if let Kind::Foreign(packing) = self.kind {
            object.insert("packing".into(), packing.name().into());
        }
        object.insert("entries".into(), self.entries.into());
        object.insert("content_size".into(), self.content_size.into());
        for (key, value) in [
            ("archive_size", self.archive_size),
            ("listing_size", self.listing_size),
            ("listing_real_size", self.listing_real_size),
            ("created", self.created),
        ] {
            if let Some(value) = value {
                object.insert(key.into(), value.into());
            }
        }
        if let Some(identity) = &self.identity {
            object.insert("identity".into(), digest_text(identity).into());
        }
        if !self.parts.is_empty() {
            object.insert("parts".into(), self.part_names().into());
        }
        if let Some(tool) = &self.tool {
            object.insert("tool".into(), tool.as_str().into());
        }
        if let Some((count, missing)) = self.slices {
            object.insert("slices".into(), count.into());
            object.insert("slices_missing".into(), missing.into());
        }
        object.insert("incomplete".into(), self.incomplete.into());
        if self.is_listing {
            object.insert("listing_alone".into(), true.into());
        }
        if !self.bases.is_empty() {
            let bases = self.bases.iter().map(|base| serde_json::Value::Object(base.json()));
            object.insert("bases".into(), bases.collect::<Vec<_>>().into());
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Facts {
        Facts {
            name: "a.tar.gz".into(),
            kind: Kind::Isptar(2),
            entries: 12,
            content_size: 10_240,
            archive_size: Some(1024),
            listing_size: Some(600),
            listing_real_size: Some(2048),
            identity: Some([0; 32]),
            created: Some(1_700_000_000),
            tool: Some("isptar 0.1.0".into()),
            parts: Vec::new(),
            incomplete: true,
            is_listing: false,
            bases: Vec::new(),
            slices: Some((7, 2)),
        }
    }

    #[test]
    fn the_table_says_what_is_known() {
        let expected = "\
archive:    a.tar.gz
kind:       isptar archive, format 2
entries:    12
contents:   10.0 KiB (10240 bytes)
size:       1.0 KiB (1024 bytes)
slices:     7, 2 of them missing or of another length
ratio:      10.0 %
listing:    600 bytes, 2.0 KiB of text
identity:   AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
created:    2023-11-14 22:13:20 UTC
made by:    isptar 0.1.0
incomplete: yes: something could not be read or saved
";
        assert_eq!(ours().table(), expected);
        let foreign = Facts { kind: Kind::Foreign(Packing::Xz), ..Facts::default() };
        let expected = "\
archive:    \n\
kind:       archive of another program (tar, xz)
entries:    0
contents:   0 bytes
listing:    none
";
        assert_eq!(foreign.table(), expected);
    }

    #[test]
    fn json_has_the_same() {
        let object = ours().json();
        assert_eq!(object["kind"], "isptar");
        assert_eq!(object["format"], 2);
        assert_eq!(object["archive_size"], 1024);
        assert_eq!(object["identity"], "A".repeat(43));
        assert_eq!(object["incomplete"], true);
        assert!(!Facts::default().json().contains_key("archive_size"));
    }
}
