//! Names of members, and the check that makes one fit to be written to a file system.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use crate::error::Error;
use crate::limits::Limits;

/// The name of a member: any bytes, as they stand in the archive.
///
/// It is ordered as the listing is: bytewise, with `/` below all other bytes, so that a directory
/// comes right before its contents. It deliberately is no `Path`: only [`SafePath`] leads to files.
#[derive(PartialEq, Eq, Hash, Default)]
pub struct MemberName<'a>(Cow<'a, [u8]>);

/// The name of a member, with bytes of its own.
pub type MemberPath = MemberName<'static>;

impl Clone for MemberName<'_> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }

    // The name before is kept for each that is written: in memory that is there.
    fn clone_from(&mut self, source: &Self) {
        self.0.clone_from(&source.0);
    }
}

impl MemberPath {
    /// Makes a name of any bytes, unchecked.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(bytes.into()))
    }
}

impl<'a> MemberName<'a> {
    /// Returns the bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes of the name, consuming it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_owned()
    }

    /// Returns the same name with bytes of its own.
    pub fn into_owned(self) -> MemberPath {
        MemberName(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the same name, borrowed.
    pub fn borrowed(&self) -> MemberName<'_> {
        MemberName(Cow::Borrowed(&self.0))
    }

    /// Returns whether this is the root of the tree, the entry `.`.
    pub fn is_root(&self) -> bool {
        *self.0 == *b"."
    }

    /// Returns whether `self` is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &MemberName<'_>) -> bool {
        is_within(&self.0, &ancestor.0)
    }

    /// Returns the name of `name` in the directory `self`.
    pub fn join(&self, name: &[u8]) -> MemberPath {
        if self.is_root() {
            return MemberPath::new(name);
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        path.push(b'/');
        path.extend_from_slice(name);
        MemberPath::new(path)
    }

    /// Returns the last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }

    /// Returns the name of the directory that holds this member, if it is in one.
    pub fn parent(&self) -> Option<MemberPath> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        self.0.get(..slash).map(MemberPath::new)
    }

    /// Returns whether the name is in the form that our archives use: relative, without empty,
    /// `.` or `..` components; or the root `.` itself.
    pub fn is_canonical(&self) -> bool {
        self.is_root()
            || !self.0.contains(&0)
                && self
                    .0
                    .split(|&byte| byte == b'/')
                    .all(|part| !matches!(part, b"" | b"." | b".."))
    }
}

/// Compares two names in listing order: bytewise, `/` below all other bytes.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // The root comes first; nothing else in a listing begins with a `.` component.
    match (a == b".", b == b".") {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    let common = common_len(a, b);
    match (a.get(common), b.get(common)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(&x), Some(&y)) => rank(x).cmp(&rank(y)),
    }
}

/// Returns how many bytes two names begin with together. Neighbours in a listing share most of theirs:
/// eight are compared at a time.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    let words = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(x, y)| x == y).count();
    let start = 8 * words;
    start + a[start..].iter().zip(&b[start..]).take_while(|(x, y)| x == y).count()
}

fn rank(byte: u8) -> u16 {
    if byte == b'/' { 0 } else { u16::from(byte) + 1 }
}

/// Returns whether `path` is `ancestor` or lies below it; everything lies below the root `.`.
pub fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    if ancestor == b"." {
        return true;
    }
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Returns a hash that stands for a name in this process. Its key is random, so that nobody can make
/// names for an archive whose hashes are the same.
pub(crate) fn name_hash(path: &[u8]) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(path)
}

impl PartialOrd for MemberName<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MemberName<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl From<&str> for MemberPath {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<&[u8]> for MemberPath {
    fn from(name: &[u8]) -> Self {
        Self::new(name)
    }
}

impl From<Vec<u8>> for MemberPath {
    fn from(name: Vec<u8>) -> Self {
        Self::new(name)
    }
}

impl<'a> From<Cow<'a, [u8]>> for MemberName<'a> {
    fn from(name: Cow<'a, [u8]>) -> Self {
        Self(name)
    }
}

/// Shows the name with everything escaped that could confuse a terminal.
impl fmt::Display for MemberName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

impl fmt::Debug for MemberName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Returns `bytes` as text that is safe to show on a terminal: control characters, the marks that
/// reorder or hide text, and bytes that are not UTF-8 are escaped, and so is the backslash.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => shown.push_str("\\\\"),
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\r' => shown.push_str("\\r"),
                c if c.is_control() || is_deceptive(c) => {
                    shown.extend(c.escape_unicode());
                }
                c => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Characters without a look of their own that change how others look: bidirectional controls,
/// zero-width characters, line and paragraph separators, the byte order mark, tags.
fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Why a name must not be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathReason {
    /// The name is empty, or nothing but slashes.
    #[error("the name is empty")]
    Empty,
    /// A component is `..`.
    #[error("it has a .. component")]
    ParentDir,
    /// The name has a NUL byte.
    #[error("it has a NUL byte")]
    Nul,
    /// In a listing of ours: it has a form that ours never has.
    #[error("it begins with a slash, or has empty or . components")]
    NotCanonical,
    /// The name is too long.
    #[error("it is {0} bytes long, the limit is {1}")]
    TooLong(u64, u64),
    /// The name has too many components.
    #[error("it is {0} levels deep, the limit is {1}")]
    TooDeep(u64, u64),
}

/// A name that stays inside the target: relative components, none of them `..`.
///
/// Leading slashes, `.` components and doubled slashes are dropped, as tar does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePath {
    bytes: Vec<u8>,
}

impl SafePath {
    /// Checks a name against `limits` and the rules above.
    pub fn new(path: &MemberName<'_>, limits: &Limits) -> Result<Self, Error> {
        Self::check(path.as_bytes(), limits)
            .map_err(|reason| Error::UnsafePath { path: path.clone().into_owned(), reason })
    }

    fn check(path: &[u8], limits: &Limits) -> Result<Self, PathReason> {
        let length = path.len() as u64;
        if length > limits.path {
            return Err(PathReason::TooLong(length, limits.path));
        }
        if path.contains(&0) {
            return Err(PathReason::Nul);
        }
        let mut bytes = Vec::with_capacity(path.len());
        let mut components = 0u64;
        let mut dots = false;
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" => {}
                b"." => dots = true,
                b".." => return Err(PathReason::ParentDir),
                part => {
                    if components > 0 {
                        bytes.push(b'/');
                    }
                    bytes.extend_from_slice(part);
                    components += 1;
                }
            }
        }
        if components == 0 && !dots {
            return Err(PathReason::Empty);
        }
        if components > limits.components {
            return Err(PathReason::TooDeep(components, limits.components));
        }
        Ok(Self { bytes })
    }

    /// Returns the components; the root of the tree has none.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// Returns whether this is the root of the tree itself.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the path without its first `count` components, if any are left.
    pub fn strip_components(&self, count: usize) -> Option<Self> {
        if count == 0 {
            return Some(self.clone());
        }
        let rest: Vec<&[u8]> = self.components().skip(count).collect();
        if rest.is_empty() { None } else { Some(Self { bytes: rest.join(&b'/') }) }
    }

    /// Returns the bytes: components joined by single slashes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the checked name as a member name; `.` for the root.
    pub fn to_member_path(&self) -> MemberPath {
        if self.is_root() { MemberPath::from(".") } else { MemberPath::new(self.bytes.clone()) }
    }
}

impl TryFrom<&MemberName<'_>> for SafePath {
    type Error = Error;

    /// Checks a name against the default [`Limits`].
    fn try_from(path: &MemberName<'_>) -> Result<Self, Error> {
        Self::new(path, &Limits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_names_stay_the_same_within_a_process() {
        let all: std::collections::HashSet<u64> =
            (0..1000u32).map(|n| name_hash(&n.to_be_bytes())).collect();
        assert_eq!(all.len(), 1000);
        assert!((0..1000u32).all(|n| all.contains(&name_hash(&n.to_be_bytes()))));
    }

    #[test]
    fn a_directory_comes_right_before_its_contents() {
        let mut names: Vec<MemberPath> =
            ["a.b", "b", ".", "a/b", "a", ".x", "a-b", "a/b/c", "a/b.c"].map(Into::into).into();
        names.sort();
        let shown: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [".", ".x", "a", "a/b", "a/b/c", "a/b.c", "a-b", "a.b", "b"]);
    }

    #[test]
    fn names_that_begin_alike_are_compared_where_they_differ() {
        let names = (0..20).flat_map(|len| {
            let start = "directory/name-of-it"[..len].to_owned();
            ["", "/", "a", "-", "~/x"].map(|end| start.clone() + end)
        });
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        for a in &names {
            for b in &names {
                let plain = a.bytes().map(rank).cmp(b.bytes().map(rank));
                assert_eq!(compare(a.as_bytes(), b.as_bytes()), plain, "{a} {b}");
            }
        }
    }

    #[test]
    fn safe_paths_drop_what_tar_drops_and_refuse_the_rest() {
        let safe = |name: &str| SafePath::try_from(&MemberPath::from(name));
        assert_eq!(safe("/a//./b/").unwrap().as_bytes(), b"a/b");
        assert!(safe("./").unwrap().is_root());
        for (name, reason) in [
            ("", PathReason::Empty),
            ("//", PathReason::Empty),
            ("a/..", PathReason::ParentDir),
            ("..", PathReason::ParentDir),
            ("a\0b", PathReason::Nul),
        ] {
            match safe(name) {
                Err(Error::UnsafePath { reason: found, .. }) => assert_eq!(found, reason),
                other => panic!("{name:?} gave {other:?}"),
            }
        }
        assert!(safe(&"a/".repeat(8193)).is_err());
        assert!(safe(&"x".repeat((64 << 10) + 1)).is_err());
    }

    #[test]
    fn printable_leaves_nothing_for_a_terminal_to_act_on() {
        assert_eq!(printable(b"a\x1b[31mb\n\xff"), "a\\u{1b}[31mb\\n\\xff");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(printable("ö 日".as_bytes()), "ö 日");
    }
}
