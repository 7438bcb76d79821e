//! Archive info: the `key=value` text after the tables that says where everything is.

use super::text::{decimal, digest_text, parse_digest};
use crate::error::FormatError;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u64 = 2;

/// Most bytes of archive info.
pub const MAX_LEN: usize = 2048;

/// What the archive info says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchiveInfo {
    /// Packed bytes of all listing blocks and the tables.
    pub listing_size: u64,
    /// The same, decompressed.
    pub listing_real_size: u64,
    /// The format; absent in classic archives.
    pub format: Option<u64>,
    /// Packed bytes of the tables: 0 when there are none.
    pub tables_size: u64,
    /// Number of entries.
    pub entries: u64,
    /// Packed bytes before the header of `.backup.info`.
    pub data_size: u64,
    /// Bytes of content of all regular files, holes included.
    pub content_size: Option<u64>,
    /// SHA-256 of the listing text: the archive's identity.
    pub listing_sha256: Option<[u8; 32]>,
    /// Length of every slice but the last two, when there is more than one.
    pub slice_size: Option<u64>,
    /// Entries are in order and their names are unique.
    pub sorted: bool,
    /// When the archive was begun, in seconds since 1970.
    pub created: Option<u64>,
    /// Sources could not be read.
    pub incomplete: bool,
    /// The archive was merged of several.
    pub parts: bool,
    /// What made the archive.
    pub tool: Option<String>,
    /// Keys that this version does not know.
    pub unknown: Vec<(String, String)>,
}

impl ArchiveInfo {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// [`FormatError::Unknown`] when the format is newer, otherwise what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let text =
            std::str::from_utf8(text).map_err(|_| FormatError::invalid("archive info", text))?;
        let body = text
            .strip_suffix("header_size=")
            .filter(|body| body.is_empty() || body.ends_with('\n'))
            .ok_or(FormatError::Missing("header_size"))?;
        // The format comes first: in a newer one everything else may differ.
        let format = body.lines().find_map(|line| line.strip_prefix("format="));
        if let Some(format) = format.and_then(|format| decimal("format", format.as_bytes()).ok())
            && format > FORMAT
        {
            return Err(FormatError::Unknown { what: "format", value: format.to_string() });
        }
        let mut info = Self::default();
        let mut seen = Vec::new();
        for line in body.split_terminator('\n') {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| FormatError::invalid("archive info line", line.as_bytes()))?;
            if seen.contains(&key) {
                return Err(FormatError::Duplicate { what: "key", value: key.into() });
            }
            seen.push(key);
            info.set(key, value)?;
        }
        info.check(&seen)?;
        let parts = body.lines().find_map(|line| line.strip_prefix("parts="));
        match parts.filter(|&parts| info.format.is_some() && parts != "1") {
            Some(parts) => Err(FormatError::invalid("parts", parts.as_bytes())),
            None => Ok(info),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), FormatError> {
        let bytes = value.as_bytes();
        let flag = |field| match value {
            "1" => Ok(true),
            _ => Err(FormatError::invalid(field, bytes)),
        };
        match key {
            "listing_header" if value == "512" => {}
            "listing_header" => return Err(FormatError::invalid("listing_header", bytes)),
            "listing_size" => self.listing_size = decimal("listing_size", bytes)?,
            "listing_real_size" => self.listing_real_size = decimal("listing_real_size", bytes)?,
            "format" => self.format = Some(decimal("format", bytes)?),
            "tables_size" => self.tables_size = decimal("tables_size", bytes)?,
            "entries" => self.entries = decimal("entries", bytes)?,
            "data_size" => self.data_size = decimal("data_size", bytes)?,
            "content_size" => self.content_size = Some(decimal("content_size", bytes)?),
            "listing_sha256" => {
                self.listing_sha256 = Some(parse_digest("listing_sha256", bytes)?);
            }
            "slice_size" => self.slice_size = Some(decimal("slice_size", bytes)?),
            "sorted" => self.sorted = flag("sorted")?,
            "created" => self.created = Some(decimal("created", bytes)?),
            "incomplete" => self.incomplete = flag("incomplete")?,
            // Classic archives name the parts here.
            "parts" => self.parts = true,
            "tool" => self.tool = Some(value.into()),
            _ => self.unknown.push((key.into(), value.into())),
        }
        Ok(())
    }

    /// Checks that the keys every reader needs are there.
    fn check(&self, seen: &[&str]) -> Result<(), FormatError> {
        let required: &[&'static str] = match self.format {
            None => &["listing_header", "listing_size", "listing_real_size"],
            Some(format) if format != FORMAT => {
                return Err(FormatError::invalid("format", format.to_string().as_bytes()));
            }
            Some(_) => &[
                "listing_header",
                "listing_size",
                "listing_real_size",
                "entries",
                "data_size",
                "listing_sha256",
            ],
        };
        match required.iter().find(|key| !seen.contains(*key)) {
            Some(key) => Err(FormatError::Missing(key)),
            None if self.tables_size > self.listing_size => {
                Err(FormatError::mismatch("tables_size", self.listing_size, self.tables_size))
            }
            None => Ok(()),
        }
    }

    /// Returns the text as the original program writes it.
    pub(crate) fn encode_classic(&self) -> Vec<u8> {
        let Self { listing_size, listing_real_size, .. } = self;
        format!(
            "listing_header=512\nlisting_real_size={listing_real_size}\n\
             listing_size={listing_size}\nheader_size="
        )
        .into_bytes()
    }

    /// Returns the text, which ends with `header_size=`.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::from("listing_header=512\n");
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(key);
                text.push('=');
                text.push_str(&value);
                text.push('\n');
            }
        };
        let flag = |set: bool| set.then(|| "1".to_owned());
        put("listing_size", Some(self.listing_size.to_string()));
        put("listing_real_size", Some(self.listing_real_size.to_string()));
        put("format", self.format.map(|format| format.to_string()));
        put("tables_size", (self.tables_size > 0).then(|| self.tables_size.to_string()));
        put("entries", Some(self.entries.to_string()));
        put("data_size", Some(self.data_size.to_string()));
        put("content_size", self.content_size.map(|size| size.to_string()));
        put("listing_sha256", self.listing_sha256.as_ref().map(digest_text));
        put("slice_size", self.slice_size.map(|size| size.to_string()));
        put("sorted", flag(self.sorted));
        put("created", self.created.map(|created| created.to_string()));
        put("incomplete", flag(self.incomplete));
        put("parts", flag(self.parts));
        put("tool", self.tool.clone());
        for (key, value) in &self.unknown {
            put(key, Some(value.clone()));
        }
        text.push_str("header_size=");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ArchiveInfo {
        ArchiveInfo {
            listing_size: 900,
            listing_real_size: 5000,
            format: Some(FORMAT),
            tables_size: 60,
            entries: 12,
            data_size: 123_456,
            content_size: Some(1_000_000),
            listing_sha256: Some([7; 32]),
            slice_size: None,
            sorted: true,
            created: Some(1_700_000_000),
            incomplete: true,
            parts: false,
            tool: Some("isptar 0.1.0".into()),
            unknown: vec![("later".into(), "a=b".into())],
        }
    }

    #[test]
    fn the_text_round_trips() {
        assert_eq!(ArchiveInfo::parse(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        for text in [
            "listing_header=512\nformat=3\nbrand=new\nheader_size=",
            "listing_header=1024\nsorted=yes\nsorted=no\nnothing\nformat=3\nheader_size=",
        ] {
            let parsed = ArchiveInfo::parse(text.as_bytes());
            assert!(matches!(parsed, Err(FormatError::Unknown { .. })), "{text}");
        }
    }

    #[test]
    fn text_that_lies_is_refused() {
        let good = String::from_utf8(sample().encode()).unwrap();
        for (from, to) in [
            ("header_size=", "header_size=1"),
            ("header_size=", ""),
            ("listing_header=512", "listing_header=513"),
            ("entries=12\n", ""),
            ("entries=12\n", "entries=12\nentries=12\n"),
            ("entries=12", "entries=-12"),
            ("format=2", "format=1"),
            ("sorted=1", "sorted=0"),
            ("tables_size=60", "tables_size=901"),
            ("listing_sha256=B", "listing_sha256=!"),
            ("created=1", "created=+1"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            assert!(ArchiveInfo::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ArchiveInfo::parse(&[b'x'; 3000]).is_err());
    }
}
