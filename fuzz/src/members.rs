//! Members as an attacker would make them: names out of a few parts that matter, links that lead
//! out, kinds that do not belong there.

use isptar_core::format::sparse::{Segment, SparseMap};
use isptar_core::{Kind, Limits, MemberHeader, MemberPath, Timestamp};

use crate::input::Input;

/// Components that names are made of. The sandbox has `outside` beside the target, and may have
/// `out`, `abs` and `loop` in it, symbolic links.
const PARTS: [&[u8]; 16] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"..",
    b".",
    b"",
    b"out",
    b"abs",
    b"loop",
    b"outside",
    b"victim",
    b"vdir",
    b".backup.info",
    b"a.b",
    b"\xff\n",
];

/// Takes a name; `base` is the absolute path that the sandbox is in.
pub(crate) fn name(input: &mut Input<'_>, base: &[u8]) -> Vec<u8> {
    let shape = input.byte();
    let mut name = match shape >> 4 {
        0 => return input.text(),
        1 => b"/".to_vec(),
        2 => [base, b"/"].concat(),
        3 => b"../".to_vec(),
        4 => b"./".to_vec(),
        5 => b"x".repeat(90 + usize::from(input.byte())),
        6 => b"long/".repeat(usize::from(input.byte()) / 8),
        _ => Vec::new(),
    };
    for part in 0..=shape % 4 {
        if part > 0 {
            name.push(b'/');
        }
        name.extend_from_slice(PARTS[input.below(PARTS.len())]);
    }
    if shape & 0x0c == 0x0c {
        name.push(b'/');
    }
    name
}

/// Takes a member: its headers and the data that follows them.
pub(crate) fn member(input: &mut Input<'_>, base: &[u8]) -> (MemberHeader, Vec<u8>) {
    let path = MemberPath::new(name(input, base));
    let mut data = Vec::new();
    let mut sparse = None;
    let kind = match input.byte() % 16 {
        0..=2 => Kind::Directory,
        3..=5 => Kind::Symlink { target: name(input, base) },
        6..=8 => Kind::HardLink { target: MemberPath::new(name(input, base)) },
        9 => Kind::Fifo,
        10 => Kind::CharDevice { major: input.number(), minor: input.number() },
        11 => {
            data = input.text();
            sparse = map(input, data.len() as u64);
            Kind::File { size: sparse.as_ref().map_or(data.len() as u64, SparseMap::real_size) }
        }
        _ => {
            data = input.text();
            Kind::File { size: data.len() as u64 }
        }
    };
    let mut header = MemberHeader { sparse, ..MemberHeader::new(path, kind) };
    let metadata = input.byte();
    if metadata & 1 != 0 {
        header.mode = input.number() & 0o7777;
    }
    if metadata & 2 != 0 {
        (header.uid, header.gid) = (input.odd_number(), u64::from(input.number()));
        (header.user, header.group) = (input.text(), input.text());
    }
    if metadata & 4 != 0 {
        let (sign, seconds) = (input.byte(), i64::from(input.number()));
        let seconds = if sign % 2 == 0 { seconds } else { -seconds };
        header.mtime = Timestamp::new(seconds, input.number() % 1_000_000_000);
    }
    if metadata & 8 != 0 {
        attributes(input, &mut header);
    }
    (header, data)
}

/// Takes extended attributes, ACLs and a label.
pub(crate) fn attributes(input: &mut Input<'_>, header: &mut MemberHeader) {
    let which = input.byte();
    if which & 1 != 0 {
        let name = [b"user.".to_vec(), input.text()].concat();
        header.xattrs.attributes.insert(name, input.text());
    }
    if which & 2 != 0 {
        header.xattrs.attributes.insert(input.text(), input.text());
    }
    if which & 4 != 0 {
        let acl = b"user::rw-\nuser:7:r--\ngroup::r--\nmask::r--\nother::---\n".to_vec();
        header.xattrs.acl_access = Some(if which & 8 != 0 { input.text() } else { acl });
    }
    if which & 16 != 0 {
        header.xattrs.acl_default = Some(input.text());
    }
    if which & 32 != 0 {
        header.xattrs.label = Some(input.text());
    }
}

/// Takes a sparse map for `len` bytes of data.
pub(crate) fn map(input: &mut Input<'_>, len: u64) -> Option<SparseMap> {
    let (mut end, mut left) = (0u64, len);
    let mut segments = Vec::new();
    while left > 0 && segments.len() < 8 {
        let offset = end + (u64::from(input.number()) << (input.byte() % 24));
        let last = segments.len() == 7;
        let len = if last { left } else { left.min(u64::from(input.byte()) + 1) };
        segments.push(Segment { offset, len });
        (end, left) = (offset + len, left - len);
    }
    let size = end + u64::from(input.number());
    SparseMap::new(size, segments, &Limits::default()).ok()
}
