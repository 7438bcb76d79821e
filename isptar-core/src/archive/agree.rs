//! Whether a member is what its entry says, and as the writer makes it.

use crate::error::FormatError;
use crate::format::entry::{Entry, Kind};
use crate::format::member::MemberHeader;

/// Checks what stands behind the data of a member, up to the next block.
pub(crate) fn check_padding(padding: &[u8]) -> Result<(), FormatError> {
    // All of it is looked at, which the compiler does for many bytes at once.
    match padding.iter().fold(0, |all, byte| all | byte) != 0 {
        true => Err(FormatError::invalid("padding", padding)),
        false => Ok(()),
    }
}

/// Checks that `headers`, as they stand in the stream, end with the sparse map of a member that has
/// one, and the zeros behind it.
pub(crate) fn check_map(header: &MemberHeader, headers: &[u8]) -> Result<(), FormatError> {
    let Some(map) = &header.sparse else { return Ok(()) };
    let mut text = Vec::new();
    map.encode(&mut text);
    match headers.ends_with(&text) {
        true => Ok(()),
        false => Err(FormatError::Missing("zeros behind the sparse map")),
    }
}

/// Checks that header and entry say the same; when they do not, neither wins.
pub(crate) fn check_agreement(header: &MemberHeader, entry: &Entry) -> Result<(), FormatError> {
    if header.path != entry.path {
        return Err(FormatError::mismatch("name in the tar header", &entry.path, &header.path));
    }
    if header.kind != entry.kind {
        let show = |kind: &Kind| match kind {
            Kind::File { size } => format!("a file of {size} bytes"),
            Kind::Symlink { target } => format!("a link to {}", crate::path::printable(target)),
            Kind::HardLink { target } => format!("a hard link to {target}"),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                format!("{} {major}:{minor}", kind.noun())
            }
            kind => kind.noun().to_owned(),
        };
        let (expected, actual) = (show(&entry.kind), show(&header.kind));
        return Err(FormatError::mismatch("kind in the tar header", expected, actual));
    }
    match entry.mtime.map(|mtime| mtime.seconds()) {
        Some(seconds) if seconds != header.mtime.seconds() => {
            let actual = header.mtime.seconds();
            Err(FormatError::mismatch("mtime in the tar header", seconds, actual))
        }
        _ => Ok(()),
    }
}
