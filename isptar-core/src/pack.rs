//! From a member's headers and data to its streams and its entry.

use sha2::{Digest as _, Sha256};

use crate::codec::{Method, Packer};
use crate::error::FormatError;
use crate::format::entry::{Digest, Entry, Kind};
use crate::format::member::{MemberHeader, Xattrs};
use crate::format::padding;
use crate::format::timestamp::Timestamp;
use crate::limits::Limits;

/// What an entry records beside the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Details {
    /// Time of the last change of the inode.
    pub ctime: Option<Timestamp>,
    /// Inode number.
    pub ino: Option<u64>,
    /// The file has holes, though it is stored without.
    pub sparse: bool,
    /// The file changed while it was read.
    pub dirty: bool,
    /// Contents of the directory were left out by intent.
    pub partial: bool,
}

/// Returns the entry of a member that has no bytes yet.
pub(crate) fn entry_of(header: &MemberHeader, details: Details) -> Entry {
    into_entry(header.clone(), details)
}

/// Makes the entry of a member that has no bytes yet of its headers, which are used up.
pub(crate) fn into_entry(header: MemberHeader, details: Details) -> Entry {
    let xattr = header.xattrs.fingerprint();
    Entry {
        mode: header.mode & 0o7777,
        user: header.user,
        uid: header.uid,
        group: header.group,
        gid: header.gid,
        mtime: Some(header.mtime),
        ctime: details.ctime,
        ino: details.ino,
        xattr,
        dirty: details.dirty,
        sparse: details.sparse,
        partial: details.partial,
        ..Entry::new(header.path, header.kind)
    }
}

/// Packs members; one a thread, its buffers are reused.
#[derive(Debug)]
pub(crate) struct MemberPacker {
    packer: Packer,
    limits: Limits,
    tar: Vec<u8>,
    /// Whether headers stand elsewhere, and lines have no digests.
    data_alone: bool,
}

impl MemberPacker {
    pub(crate) fn new(level: u8, limits: Limits) -> Self {
        Self { packer: Packer::new(level), limits, tar: Vec::new(), data_alone: false }
    }

    /// Makes a packer for classic archives: of members it packs the data and its padding alone.
    pub(crate) fn classic(level: u8, limits: Limits) -> Self {
        Self { packer: Packer::open_ended(level), data_alone: true, ..Self::new(level, limits) }
    }

    /// Packs a member whose data is at hand as one stream, appended to `out`. `data` holds the
    /// segments of a sparse file one after the other, and is empty for all but files.
    pub(crate) fn pack_whole(
        &mut self,
        header: &MemberHeader,
        details: Details,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Entry, FormatError> {
        self.tar.clear();
        let digest = self.add(header, data)?;
        let packed = Some(self.seal(Method::Deflate, out));
        Ok(Entry { packed, digest, ..entry_of(header, details) })
    }

    /// Appends a member to the tar of the stream that is being made, and returns its digest; see
    /// [`Self::pack_whole`]. After an error the tar is as it was.
    pub(crate) fn add(
        &mut self,
        header: &MemberHeader,
        data: &[u8],
    ) -> Result<Option<Digest>, FormatError> {
        if matches!(&header.kind, Kind::HardLink { target } if *target == header.path) {
            let path = header.path.as_bytes();
            return Err(FormatError::invalid("target of a hard link", path));
        }
        if self.data_alone {
            self.tar.extend_from_slice(data);
            push_padding(data.len() as u64, &mut self.tar);
            return Ok(None);
        }
        let start = self.tar.len();
        if let Err(error) = header.encode(&self.limits, &mut self.tar) {
            self.tar.truncate(start);
            return Err(error);
        }
        self.tar.extend_from_slice(data);
        push_padding(data.len() as u64, &mut self.tar);
        let is_file = matches!(header.kind, Kind::File { size } if size > 0);
        Ok(is_file.then(|| {
            let mut digest = MemberDigest::new(header);
            digest.update(data);
            digest.finish()
        }))
    }

    /// Returns the length of the tar that [`Self::add`] made.
    pub(crate) fn tar_len(&self) -> usize {
        self.tar.len()
    }

    /// Packs that tar as one stream, appended to `out`; returns its packed length.
    pub(crate) fn seal(&mut self, method: Method, out: &mut Vec<u8>) -> u64 {
        self.seal_first(self.tar.len(), method, out)
    }

    /// Packs the first `len` bytes of that tar as one stream, and keeps the rest.
    pub(crate) fn seal_first(&mut self, len: usize, method: Method, out: &mut Vec<u8>) -> u64 {
        let start = out.len();
        let len = len.min(self.tar.len());
        self.packer.pack_by(method, &self.tar[..len], out);
        self.tar.drain(..len);
        (out.len() - start) as u64
    }

    /// Packs the headers of a member of several streams.
    pub(crate) fn pack_headers(
        &mut self,
        header: &MemberHeader,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let mut headers = Vec::new();
        header.encode(&self.limits, &mut headers)?;
        self.packer.pack(&headers, out);
        Ok(())
    }

    /// Packs a chunk; the last one of a member with `data_len` bytes brings the padding.
    pub(crate) fn pack_chunk(
        &mut self,
        data: &[u8],
        last_of: Option<u64>,
        method: Method,
        out: &mut Vec<u8>,
    ) {
        let Some(data_len) = last_of.filter(|&len| padding(len) > 0) else {
            return self.packer.pack_by(method, data, out);
        };
        self.tar.clear();
        self.tar.extend_from_slice(data);
        push_padding(data_len, &mut self.tar);
        self.seal(method, out);
    }
}

/// Leaves out the largest attribute, at last the ACLs; returns whether there was one.
pub(crate) fn leave_out_largest(xattrs: &mut Xattrs) -> bool {
    let largest = xattrs.attributes.iter().max_by_key(|(_, value)| value.len());
    if let Some(name) = largest.map(|(name, _)| name.clone()) {
        return xattrs.attributes.remove(&name).is_some();
    }
    let left = !xattrs.is_empty();
    *xattrs = Xattrs::default();
    left
}

/// Leaves out the attributes that there is no room for in an archive, as packing does; returns the
/// reason when there were such.
pub(crate) fn leave_out_unstorable(
    header: &mut MemberHeader,
    limits: &Limits,
) -> Option<FormatError> {
    let (mut reason, mut tar) = (None, Vec::new());
    while let Err(kind @ FormatError::Limit { what: "PAX records", .. }) =
        header.encode(limits, &mut tar)
    {
        if !leave_out_largest(&mut header.xattrs) {
            break;
        }
        reason = Some(kind);
        tar.clear();
    }
    reason
}

fn push_padding(data_len: u64, tar: &mut Vec<u8>) {
    let padding = usize::try_from(padding(data_len)).unwrap_or(0);
    tar.resize(tar.len() + padding, 0);
}

/// The digest that the entry of a file records: of the content, or of the map and the segments of
/// one that is stored as a sparse file.
#[derive(Debug, Clone)]
pub(crate) struct MemberDigest {
    hasher: Sha256,
    stored: bool,
}

impl MemberDigest {
    pub(crate) fn new(header: &MemberHeader) -> Self {
        let mut hasher = Sha256::new();
        if let Some(map) = &header.sparse {
            let mut text = Vec::new();
            map.encode(&mut text);
            hasher.update(&text);
        }
        Self { hasher, stored: header.sparse.is_some() }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.hasher.update(data);
    }

    pub(crate) fn finish(self) -> Digest {
        let digest = self.hasher.finalize().into();
        if self.stored { Digest::Stored(digest) } else { Digest::Content(digest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_left_out_until_the_rest_can_be_stored() {
        let limits = Limits::default();
        let mut header = MemberHeader::new("f", Kind::Fifo);
        for n in 0..40_usize {
            let key = format!("user.{n:02}").into_bytes();
            header.xattrs.attributes.insert(key, vec![b'x'; 60_000 + n]);
        }
        assert!(leave_out_unstorable(&mut header, &limits).is_some());
        let kept = header.xattrs.attributes.len();
        assert!((10..20).contains(&kept), "{kept}");
        // The largest went first.
        assert!(header.xattrs.attributes.contains_key(&b"user.00"[..]));
        let fingerprint = header.xattrs.fingerprint();
        assert_eq!(leave_out_unstorable(&mut header, &limits), None);
        assert_eq!(header.xattrs.fingerprint(), fingerprint);
        let mut packer = MemberPacker::new(0, limits);
        let packed = packer.pack_whole(&header, Details::default(), &[], &mut Vec::new());
        assert_eq!(packed.unwrap().xattr, fingerprint);
    }
}
