//! Writing a line of the listing.

use super::{ChunksRef, Digest, EntryRef, KindRef, Location};
use crate::error::FormatError;
use crate::format::text::{escape, push_decimal, push_digest};
use crate::format::timestamp::Timestamp;
use crate::limits::Limits;

impl EntryRef<'_> {
    /// Appends the line, with its line feed.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when the line would be longer than its reader takes.
    pub fn encode(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let start = out.len();
        self.push_fields(out);
        if let Some(location) = &self.location {
            location.encode(out);
        }
        self.push_keys(out);
        out.push(b'\n');
        let len = out.len().saturating_sub(start) as u64;
        if len > limits.line {
            // The text may be a listing that goes on with other entries.
            out.truncate(start);
            return Err(FormatError::Limit {
                what: "listing line",
                limit: limits.line,
                actual: len,
                raise: None,
            });
        }
        Ok(())
    }

    /// Appends the fields before the location.
    pub(super) fn push_fields(&self, out: &mut Vec<u8>) {
        escape(self.path.as_bytes(), out);
        push_owner(&self.user, self.uid, out);
        push_owner(&self.group, self.gid, out);
        self.push_mode_and_kind(|seconds| seconds.max(0), out);
    }

    /// Appends the line of a classic listing, but its location and line feed: no keys, ids as
    /// signed numbers of 32 bits, times that may be before 1970.
    ///
    /// # Errors
    ///
    /// [`FormatError::Limit`] when an id has more than 32 bits, or the line is longer than its
    /// reader takes; `out` is as it was then.
    pub fn encode_classic(&self, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FormatError> {
        /// Most bytes that may be added: location and line feed.
        const MORE: usize = 64;
        let id = |what, id: u64| {
            let (limit, raise) = (u64::from(u32::MAX), None);
            let narrow = u32::try_from(id).map(u32::cast_signed);
            narrow.map_err(|_| FormatError::Limit { what, limit, actual: id, raise })
        };
        let (uid, gid) = (id("uid", self.uid)?, id("gid", self.gid)?);
        let start = out.len();
        escape(self.path.as_bytes(), out);
        push_owner(&self.user, uid, out);
        push_owner(&self.group, gid, out);
        self.push_mode_and_kind(|seconds| seconds, out);
        let (what, limit, raise) = ("listing line", limits.line, None);
        let actual = out.len().saturating_sub(start).saturating_add(MORE) as u64;
        if actual > limit {
            out.truncate(start);
            return Err(FormatError::Limit { what, limit, actual, raise });
        }
        Ok(())
    }

    /// Appends mode, kind and what belongs to the kind; `field` makes the field of the mtime.
    fn push_mode_and_kind(&self, field: fn(i64) -> i64, out: &mut Vec<u8>) {
        out.push(b'\t');
        push_decimal(self.mode, out);
        out.push(b'\t');
        out.extend_from_slice(self.kind.word().as_bytes());
        match &self.kind {
            KindRef::File { size } => {
                out.push(b'\t');
                push_decimal(field(self.mtime.unwrap_or_default().seconds()), out);
                out.push(b'\t');
                push_decimal(*size, out);
            }
            KindRef::Directory | KindRef::Fifo => {}
            KindRef::Symlink { target } => {
                out.push(b'\t');
                escape(target, out);
            }
            KindRef::HardLink { target } => {
                out.push(b'\t');
                escape(target.as_bytes(), out);
            }
            KindRef::CharDevice { major, minor } | KindRef::BlockDevice { major, minor } => {
                out.push(b'\t');
                push_decimal(*major, out);
                out.push(b'\t');
                push_decimal(*minor, out);
            }
        }
    }

    fn push_keys(&self, out: &mut Vec<u8>) {
        if let Some(packed) = self.packed {
            push_key("packed", out);
            push_decimal(packed, out);
        }
        if let Some(chunks) = &self.chunks {
            push_key("chunks", out);
            push_chunks(chunks, out);
        }
        if let Some(digest) = &self.digest {
            let (key, digest) = match digest {
                Digest::Content(digest) => ("sha256", digest),
                Digest::Stored(digest) => ("stored_sha256", digest),
            };
            push_key(key, out);
            push_digest(digest, out);
        }
        self.push_times(out);
        if let Some(xattr) = self.xattr {
            push_key("xattr", out);
            out.extend_from_slice(format!("{xattr:016x}").as_bytes());
        }
        self.push_marks(out);
        for (name, value) in self.unknown() {
            out.push(b'\t');
            out.extend_from_slice(name);
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }

    /// Appends the times, as far as the fields do not say them, and the inode number.
    pub(super) fn push_times(&self, out: &mut Vec<u8>) {
        if let Some(mtime) = self.mtime.filter(|&mtime| !self.field_says(mtime)) {
            push_key("mtime", out);
            mtime.encode(out);
        }
        if self.ctime != self.mtime {
            push_key("ctime", out);
            match self.ctime {
                Some(ctime) => ctime.encode(out),
                None => out.push(b'-'),
            }
        }
        if let Some(ino) = self.ino {
            push_key("ino", out);
            push_decimal(ino, out);
        }
    }

    /// Appends flags, and why there are no bytes.
    fn push_marks(&self, out: &mut Vec<u8>) {
        for (name, set) in
            [("dirty", self.dirty), ("sparse", self.sparse), ("partial", self.partial)]
        {
            if set {
                push_key(name, out);
                out.push(b'1');
            }
        }
        if let Some(reason) = &self.lost {
            push_key("lost", out);
            escape(reason.as_bytes(), out);
        }
        if self.data {
            push_key("data", out);
            out.push(b'1');
        }
    }

    /// Returns whether the mtime field of a file says all of `mtime`.
    fn field_says(&self, mtime: Timestamp) -> bool {
        matches!(self.kind, KindRef::File { .. }) && mtime.nanos() == 0 && mtime.seconds() >= 0
    }
}

impl Location {
    /// Appends the field, with the TAB before it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'\t');
        push_decimal(self.depth, out);
        out.push(b':');
        push_decimal(self.slice, out);
        out.push(b':');
        push_decimal(self.offset, out);
        out.push(b':');
        push_decimal(self.zoffset, out);
    }
}

fn push_key(name: &str, out: &mut Vec<u8>) {
    out.push(b'\t');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
}

fn push_owner(name: &[u8], id: impl itoa::Integer, out: &mut Vec<u8>) {
    out.push(b'\t');
    escape(name, out);
    out.push(b'#');
    push_decimal(id, out);
}

fn push_chunks(chunks: &ChunksRef<'_>, out: &mut Vec<u8>) {
    push_decimal(chunks.size, out);
    for (position, packed) in chunks.packed().enumerate() {
        out.push(if position == 0 { b':' } else { b',' });
        push_decimal(packed, out);
    }
}
