//! One JSON object a line, each with a `type`.

use data_encoding::{BASE64, HEXLOWER};
use isptar_core::format::entry::Location;
use isptar_core::{Digest, Entry, Kind, LeftOut, MemberPath, Timestamp};
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
    }

    #[test]
    fn kinds_bring_their_own_fields() {
        let value = |kind| Value::Object(member(&Entry::new("a".into(), kind)));
        assert_eq!(value(Kind::Symlink { target: b"t".to_vec() })["target"], "t");
        assert_eq!(value(Kind::CharDevice { major: 5, minor: 6 })["minor"], 6);
        assert_eq!(value(Kind::Fifo)["kind"], "fifo");
    }
}
