//! How entries are written, each by itself: on any thread, without allocating.

use std::sync::Arc;

use isptar_core::{EntryRef, KindRef};

use crate::json;
use crate::output::{leads_to, push_long};
use crate::ui::Look;

/// How an entry is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Names,
    Long,
    Tree,
    Null,
    Sha256,
    Json,
}

impl Form {
    /// Returns whether [`Style::push`] can write it: the entry alone says all of it.
    pub(super) fn is_plain(self) -> bool {
        !matches!(self, Self::Tree | Self::Sha256)
    }
}

/// A form, and how names look in it.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) form: Form,
    pub(super) look: Look,
    /// The names of the archive's bases, nearest first.
    pub(super) bases: Arc<[Vec<u8>]>,
}

impl Style {
    /// Appends what is printed of an entry, in a form that is plain.
    pub(super) fn push(&self, entry: &EntryRef<'_>, out: &mut Vec<u8>) {
        match self.form {
            Form::Null => {
                out.extend_from_slice(entry.path.as_bytes());
                out.push(b'\0');
                return;
            }
            Form::Json => return json::push_member(entry, self.base(entry), out),
            Form::Long => {
                push_long(entry, out);
                self.push_name(entry, out);
                self.push_end(entry, out);
            }
            Form::Names | Form::Tree | Form::Sha256 => self.push_name(entry, out),
        }
        out.push(b'\n');
    }

    /// Returns the name of the base that a member's bytes are in.
    fn base(&self, entry: &EntryRef<'_>) -> Option<&[u8]> {
        let index = usize::try_from(entry.location?.depth).ok()?.checked_sub(1)?;
        self.bases.get(index).map(Vec::as_slice)
    }

    /// Appends the name as it is shown, in its colour.
    fn push_name(&self, entry: &EntryRef<'_>, out: &mut Vec<u8>) {
        let color = if self.look.color { color(entry) } else { None };
        out.extend_from_slice(color.unwrap_or_default().as_bytes());
        self.look.push(entry.path.as_bytes(), out);
        if color.is_some() {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    /// Appends what a long line says after the name.
    fn push_end(&self, entry: &EntryRef<'_>, out: &mut Vec<u8>) {
        if let Some((words, target)) = leads_to(&entry.kind) {
            out.extend_from_slice(words.as_bytes());
            self.look.push(target, out);
        }
        if let Some(base) = self.base(entry) {
            out.extend_from_slice(b" (in ");
            self.look.push(base, out);
            out.push(b')');
        }
        if let Some(reason) = &entry.lost {
            let what = if entry.location.is_some() { "its contents were" } else { "not stored," };
            out.extend_from_slice(format!(" ({what} {reason})").as_bytes());
        }
    }
}

/// Returns the colour of a name, those of ls.
fn color(entry: &EntryRef<'_>) -> Option<&'static str> {
    match entry.kind {
        KindRef::Directory => Some("\x1b[1;34m"),
        KindRef::Symlink { .. } => Some("\x1b[1;36m"),
        KindRef::CharDevice { .. } | KindRef::BlockDevice { .. } | KindRef::Fifo => {
            Some("\x1b[33m")
        }
        KindRef::File { .. } if entry.mode & 0o111 != 0 => Some("\x1b[1;32m"),
        _ => None,
    }
}
