//! One JSON object a line, each with a `type`.

use data_encoding::{BASE64, HEXLOWER};
use isptar_core::format::entry::Location;
use isptar_core::{Digest, Entry, EntryRef, Kind, KindRef, LeftOut, MemberPath, Timestamp};
use serde_json::{Map, Value, json};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// Makes an object of a type.
pub(crate) fn object(kind: &str) -> Object {
    let mut object = Object::new();
    object.insert("type".into(), kind.into());
    object
}

/// Puts bytes as text under `key`, or in base64 under `key_b64` when they are not UTF-8.
pub(crate) fn put_bytes(object: &mut Object, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(key.into(), text.into()),
        Err(_) => object.insert(format!("{key}_b64"), BASE64.encode(bytes).into()),
    };
}

/// Returns the object as a line.
pub(crate) fn line(object: Object) -> Vec<u8> {
    let mut line = Value::Object(object).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Returns all that is known of a member.
pub(crate) fn member(entry: &Entry) -> Object {
    let mut object = object("member");
    put_bytes(&mut object, "path", entry.path.as_bytes());
    put_kind(&mut object, &entry.kind);
    object.insert("mode".into(), format!("{:04o}", entry.mode).into());
    put_bytes(&mut object, "user", &entry.user);
    object.insert("uid".into(), entry.uid.into());
    put_bytes(&mut object, "group", &entry.group);
    object.insert("gid".into(), entry.gid.into());
    put_time(&mut object, "mtime", entry.mtime);
    put_time(&mut object, "ctime", entry.ctime);
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.into(), value);
        }
    };
    put("ino", entry.ino.map(Value::from));
    put("location", entry.location.as_ref().map(location));
    put("packed", entry.packed.map(Value::from));
    let chunks = entry.chunks.as_ref();
    put("chunks", chunks.map(|chunks| json!({"size": chunks.size, "packed": chunks.packed})));
    match &entry.digest {
        Some(Digest::Content(digest)) => put("sha256", Some(HEXLOWER.encode(digest).into())),
        Some(Digest::Stored(digest)) => {
            put("stored_sha256", Some(HEXLOWER.encode(digest).into()));
        }
        None => {}
    }
    put("xattr", entry.xattr.map(|print| format!("{print:016x}").into()));
    for (key, set) in [("dirty", entry.dirty), ("sparse", entry.sparse), ("partial", entry.partial)]
    {
        put(key, set.then_some(Value::Bool(true)));
    }
    put("lost", entry.lost.as_deref().map(Value::from));
    put("unknown", (!entry.unknown.is_empty()).then(|| unknown(&entry.unknown)));
    object
}

/// Appends the line that [`member`] is, without making an object of it: listings are long. `base` is
/// the name of the base that the member's bytes are in.
pub(crate) fn push_member(entry: &EntryRef<'_>, base: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut text = Writer { out };
    text.push(b'{');
    base.iter().for_each(|base| text.bytes("base", base));
    text.chunks(entry);
    text.time("ctime", entry.ctime);
    if entry.dirty {
        text.raw("dirty", b"true");
    }
    text.number("gid", entry.gid);
    text.bytes("group", &entry.group);
    entry.ino.iter().for_each(|&ino| text.number("ino", ino));
    text.word("kind", entry.kind.word());
    entry.location.iter().for_each(|location| text.location(location));
    entry.lost.iter().for_each(|lost| text.bytes("lost", lost.as_bytes()));
    text.device(&entry.kind);
    text.mode(entry.mode);
    text.time("mtime", entry.mtime);
    entry.packed.iter().for_each(|&packed| text.number("packed", packed));
    if entry.partial {
        text.raw("partial", b"true");
    }
    text.bytes("path", entry.path.as_bytes());
    if let Some(Digest::Content(digest)) = &entry.digest {
        text.hex("sha256", digest);
    }
    if let KindRef::File { size } = entry.kind {
        text.number("size", size);
    }
    if entry.sparse {
        text.raw("sparse", b"true");
    }
    if let Some(Digest::Stored(digest)) = &entry.digest {
        text.hex("stored_sha256", digest);
    }
    match &entry.kind {
        KindRef::Symlink { target } => text.bytes("target", target),
        KindRef::HardLink { target } => text.bytes("target", target.as_bytes()),
        _ => {}
    }
    text.word("type", "member");
    text.number("uid", entry.uid);
    text.unknown(entry);
    text.bytes("user", &entry.user);
    entry.xattr.iter().for_each(|print| text.hex("xattr", &print.to_be_bytes()));
    text.end();
}

/// Writes an object, key by key, in the order of the keys.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn push(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn key(&mut self, key: &str, suffix: &str) {
        if !self.out.ends_with(b"{") {
            self.push(b',');
        }
        self.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key, "");
        self.out.extend_from_slice(value);
    }

    fn number(&mut self, key: &str, number: impl itoa::Integer) {
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes text that has nothing to escape.
    fn word(&mut self, key: &str, word: &str) {
        self.raw(key, b"\"");
        self.out.extend_from_slice(word.as_bytes());
        self.push(b'"');
    }

    fn bytes(&mut self, key: &str, bytes: &[u8]) {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.iter().all(is_plain) => self.word(key, text),
            Ok(text) => self.raw(key, Value::from(text).to_string().as_bytes()),
            Err(_) => self.word(&format!("{key}_b64"), &BASE64.encode(bytes)),
        }
    }

    fn hex(&mut self, key: &str, bytes: &[u8]) {
        self.raw(key, b"\"");
        let start = self.out.len();
        self.out.resize(start + 2 * bytes.len(), 0);
        HEXLOWER.encode_mut(bytes, &mut self.out[start..]);
        self.push(b'"');
    }

    fn mode(&mut self, mode: u32) {
        self.raw("mode", b"\"");
        let digit = |shift: u32| b'0' + u8::try_from(mode >> shift & 7).unwrap_or(0);
        self.out.extend([digit(9), digit(6), digit(3), digit(0), b'"']);
    }

    fn time(&mut self, key: &str, time: Option<Timestamp>) {
        let Some(time) = time else { return };
        self.number(key, time.seconds());
        if time.nanos() > 0 {
            self.key(key, "_nanos");
            self.out.extend_from_slice(itoa::Buffer::new().format(time.nanos()).as_bytes());
        }
    }

    fn location(&mut self, location: &Location) {
        self.raw("location", b"{");
        self.number("depth", location.depth);
        self.number("offset", location.offset);
        self.number("slice", location.slice);
        self.number("zoffset", location.zoffset);
        self.push(b'}');
    }

    fn chunks(&mut self, entry: &EntryRef<'_>) {
        let Some(chunks) = &entry.chunks else { return };
        self.raw("chunks", b"{\"packed\":[");
        for packed in chunks.packed() {
            self.out.extend_from_slice(itoa::Buffer::new().format(packed).as_bytes());
            self.push(b',');
        }
        if self.out.ends_with(b",") {
            self.out.pop();
        }
        self.push(b']');
        self.number("size", chunks.size);
        self.push(b'}');
    }

    fn device(&mut self, kind: &KindRef<'_>) {
        if let KindRef::CharDevice { major, minor } | KindRef::BlockDevice { major, minor } = *kind
        {
            self.number("major", major);
            self.number("minor", minor);
        }
    }

    fn unknown(&mut self, entry: &EntryRef<'_>) {
        let mut object = Object::new();
        for (key, value) in entry.unknown() {
            put_bytes(&mut object, &String::from_utf8_lossy(key), value);
        }
        if !object.is_empty() {
            self.raw("unknown", Value::Object(object).to_string().as_bytes());
        }
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

fn put_kind(object: &mut Object, kind: &Kind) {
    object.insert("kind".into(), kind.word().into());
    match kind {
        Kind::File { size } => {
            object.insert("size".into(), (*size).into());
        }
        Kind::Symlink { target } => put_bytes(object, "target", target),
        Kind::HardLink { target } => put_bytes(object, "target", target.as_bytes()),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            object.insert("major".into(), (*major).into());
            object.insert("minor".into(), (*minor).into());
        }
        Kind::Directory | Kind::Fifo => {}
    }
}

/// Puts seconds under `key` and, when there are any, nanoseconds under `key_nanos`: one number
/// would lose digits.
pub(crate) fn put_time(object: &mut Object, key: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        object.insert(key.into(), time.seconds().into());
        if time.nanos() > 0 {
            object.insert(format!("{key}_nanos"), time.nanos().into());
        }
    }
}

fn location(location: &Location) -> Value {
    json!({
        "depth": location.depth,
        "slice": location.slice,
        "offset": location.offset,
        "zoffset": location.zoffset,
    })
}

fn unknown(pairs: &[(Vec<u8>, Vec<u8>)]) -> Value {
    let mut object = Object::new();
    for (key, value) in pairs {
        put_bytes(&mut object, &String::from_utf8_lossy(key), value);
    }
    Value::Object(object)
}

/// Returns what was left out, and why.
pub(crate) fn left_out(path: &MemberPath, reason: LeftOut) -> Object {
    message("left_out", Some(path), &reason.to_string())
}

/// Returns a message of a type, about a member or the whole run.
pub(crate) fn message(kind: &str, path: Option<&MemberPath>, text: &str) -> Object {
    let mut object = object(kind);
    if let Some(path) = path {
        put_bytes(&mut object, "path", path.as_bytes());
    }
    object.insert("message".into(), text.into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::Chunks;

    fn pushed(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        push_member(&entry.borrowed(), None, &mut out);
        out
    }

    fn shown(object: Object) -> String {
        String::from_utf8(line(object)).unwrap()
    }

    #[test]
    fn names_that_are_not_text_are_base64() {
        let object = message("warning", Some(&MemberPath::new(b"a\xff".to_vec())), "odd");
        assert_eq!(
            shown(object),
            "{\"message\":\"odd\",\"path_b64\":\"Yf8=\",\"type\":\"warning\"}\n"
        );
        let object = left_out(&"a\nb".into(), LeftOut::Excluded);
        assert_eq!(
            shown(object),
            "{\"message\":\"excluded\",\"path\":\"a\\nb\",\"type\":\"left_out\"}\n"
        );
    }

    #[test]
    fn a_member_has_all_that_the_listing_knows() {
        let mut entry = Entry::new("a".into(), Kind::File { size: 3 });
        entry.mode = 0o4755;
        entry.mtime = Some(Timestamp::new(-2, 7));
        entry.location = Some(Location { depth: 1, slice: 1, offset: 9, zoffset: 0 });
        entry.packed = Some(30);
        entry.chunks = Some(Chunks { size: 2, packed: vec![10, 20] });
        entry.digest = Some(Digest::Content([1; 32]));
        entry.xattr = Some(0xab);
        entry.dirty = true;
        entry.lost = Some("unreadable".into());
        entry.unknown = vec![(b"later".to_vec(), b"x".to_vec())];
        let value = Value::Object(member(&entry));
        let expected = json!({
            "type": "member", "path": "a", "kind": "file", "size": 3, "mode": "4755",
            "user": "", "uid": 0, "group": "", "gid": 0, "mtime": -2, "mtime_nanos": 7,
            "location": {"depth": 1, "slice": 1, "offset": 9, "zoffset": 0}, "packed": 30,
            "chunks": {"size": 2, "packed": [10, 20]}, "sha256": "01".repeat(32),
            "xattr": "00000000000000ab", "dirty": true, "lost": "unreadable",
            "unknown": {"later": "x"},
        });
        assert_eq!(value, expected);
        assert_eq!(pushed(&entry), line(member(&entry)));
        entry.user = b"\xff".to_vec();
        entry.group = "gr\"\u{e9}\n".into();
        entry.digest = Some(Digest::Stored([0xa5; 32]));
        (entry.partial, entry.sparse, entry.ino, entry.ctime) =
            (true, true, Some(u64::MAX), Some(Timestamp::new(i64::MIN, 0)));
        assert_eq!(pushed(&entry), line(member(&entry)));
    }

    #[test]
    fn kinds_bring_their_own_fields() {
        let value = |kind| {
            let entry = Entry::new("a".into(), kind);
            assert_eq!(pushed(&entry), line(member(&entry)));
            Value::Object(member(&entry))
        };
        assert_eq!(value(Kind::Symlink { target: b"t".to_vec() })["target"], "t");
        assert_eq!(value(Kind::CharDevice { major: 5, minor: 6 })["minor"], 6);
        assert_eq!(value(Kind::Fifo)["kind"], "fifo");
    }
}
