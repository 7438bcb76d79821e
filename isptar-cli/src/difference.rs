//! A difference as a line, and as JSON.

use isptar_core::diff::{Change, ContentChange, Field, Id};
use isptar_core::path::printable;
use isptar_core::{Difference, MemberPath, Timestamp};
use serde_json::Value;

use crate::json::{self, Object, put_bytes, put_time};
use crate::output::date_time;

/// Returns the line of a difference: a letter, the name as `name` shows it and, after a tab, what
/// differs.
pub(crate) fn line(difference: &Difference, name: &[u8]) -> Vec<u8> {
    let (letter, fields) = match &difference.change {
        Change::Added(_) => ('+', [].as_slice()),
        Change::Removed(_) => ('-', [].as_slice()),
        Change::Changed { content: ContentChange::Same, fields } => ('M', fields.as_slice()),
        Change::Changed { fields, .. } => ('C', fields.as_slice()),
    };
    let mut line = format!("{letter} ").into_bytes();
    line.extend_from_slice(name);
    let mut texts: Vec<String> = fields.iter().map(text).collect();
    if let Change::Changed { content, fields } = &difference.change
        && let Some(word) = unexplained(*content, fields)
    {
        texts.insert(0, word.into());
    }
    if !texts.is_empty() {
        line.push(b'\t');
        line.extend_from_slice(texts.join(", ").as_bytes());
    }
    line.push(b'\n');
    line
}

/// Returns what to say of another content that no field tells of.
fn unexplained(content: ContentChange, fields: &[Field]) -> Option<&'static str> {
    let told = fields.iter().any(|field| match field {
        Field::Type(..) | Field::Size(..) | Field::Digest(..) => true,
        Field::Target(..) | Field::Device(..) => true,
        Field::Mtime(..) => content == ContentChange::MayDiffer,
        _ => false,
    });
    match content {
        ContentChange::Differs if !told => Some("content"),
        ContentChange::MayDiffer if !told => Some("content unknown"),
        _ => None,
    }
}

fn text(field: &Field) -> String {
    let arrow = |what: &str, old: String, new: String| format!("{what} {old} -> {new}");
    match field {
        Field::Type(old, new) => format!("type {old} -> {new}"),
        Field::Size(old, new) => format!("size {old} -> {new}"),
        Field::Digest(..) => "content".into(),
        Field::Target(old, new) => arrow("target", printable(old), printable(new)),
        Field::Device(old, new) => {
            format!("device {},{} -> {},{}", old.0, old.1, new.0, new.1)
        }
        Field::Mode(old, new) => format!("mode {old:04o} -> {new:04o}"),
        Field::Owner(old, new) => arrow("owner", owner(old, new), owner(new, old)),
        Field::Group(old, new) => arrow("group", owner(old, new), owner(new, old)),
        Field::Mtime(old, new) => arrow("mtime", time(*old), time(*new)),
        Field::Xattr(old, new) => arrow("xattr", print(*old), print(*new)),
        Field::Links(old, new) => arrow("links", first(old), first(new)),
        other => format!("{other:?}"),
    }
}

/// Returns the name of an owner; with the number where names do not tell two apart.
fn owner(id: &Id, other: &Id) -> String {
    match (id.name.is_empty(), id.name == other.name) {
        (true, _) => id.number.to_string(),
        (false, true) => format!("{}({})", printable(&id.name), id.number),
        (false, false) => printable(&id.name),
    }
}

fn time(time: Timestamp) -> String {
    match time.nanos() {
        0 => date_time(time.seconds()),
        nanos => format!("{}.{nanos:09}", date_time(time.seconds())),
    }
}

fn print(print: Option<u64>) -> String {
    print.map_or_else(|| "none".into(), |print| format!("{print:016x}"))
}

fn first(first: &Option<MemberPath>) -> String {
    first.as_ref().map_or_else(|| "itself".into(), ToString::to_string)
}

/// Returns a difference as JSON: of a name on one side all that is known, of one on both the fields
/// that differ, each with `old` and `new`.
pub(crate) fn object(difference: &Difference) -> Object {
    let (kind, entry) = match &difference.change {
        Change::Added(entry) => ("added", entry),
        Change::Removed(entry) => ("removed", entry),
        Change::Changed { content, fields } => {
            return changed(&difference.path, *content, fields);
        }
    };
    let mut object = json::member(entry);
    object.insert("type".into(), kind.into());
    object
}

fn changed(path: &MemberPath, content: ContentChange, fields: &[Field]) -> Object {
    let mut object = json::object("changed");
    put_bytes(&mut object, "path", path.as_bytes());
    let content = match content {
        ContentChange::Same => "same",
        ContentChange::MayDiffer => "may differ",
        ContentChange::Differs => "differs",
    };
    object.insert("content".into(), content.into());
    let mut sides = Object::new();
    for field in fields {
        let (key, value) = both(field);
        sides.insert(key.into(), Value::Object(value));
    }
    object.insert("fields".into(), Value::Object(sides));
    object
}

/// Returns the key of a field, and an object of its two sides.
fn both(field: &Field) -> (&'static str, Object) {
    let values = |old: Value, new: Value| {
        let mut object = Object::new();
        object.insert("old".into(), old);
        object.insert("new".into(), new);
        object
    };
    let bytes = |old: &[u8], new: &[u8]| {
        let mut object = Object::new();
        put_bytes(&mut object, "old", old);
        put_bytes(&mut object, "new", new);
        object
    };
    let id = |id: &Id| {
        let mut object = Object::new();
        object.insert("id".into(), id.number.into());
        put_bytes(&mut object, "name", &id.name);
        Value::Object(object)
    };
    let hex = |digest: &[u8; 32]| Value::from(data_encoding::HEXLOWER.encode(digest));
    let print = |print: &Option<u64>| print.map(|print| format!("{print:016x}")).into();
    match field {
        Field::Type(old, new) => ("kind", values((*old).into(), (*new).into())),
        Field::Size(old, new) => ("size", values((*old).into(), (*new).into())),
        Field::Digest(old, new) => ("sha256", values(hex(old), hex(new))),
        Field::Target(old, new) => ("target", bytes(old, new)),
        Field::Device(old, new) => {
            ("device", values(vec![old.0, old.1].into(), vec![new.0, new.1].into()))
        }
        Field::Mode(old, new) => {
            ("mode", values(format!("{old:04o}").into(), format!("{new:04o}").into()))
        }
        Field::Owner(old, new) => ("owner", values(id(old), id(new))),
        Field::Group(old, new) => ("group", values(id(old), id(new))),
        Field::Mtime(old, new) => {
            let mut object = Object::new();
            put_time(&mut object, "old", Some(*old));
            put_time(&mut object, "new", Some(*new));
            ("mtime", object)
        }
        Field::Xattr(old, new) => ("xattr", values(print(old), print(new))),
        Field::Links(old, new) => {
            let mut object = Object::new();
            for (key, first) in [("old", old), ("new", new)] {
                match first {
                    Some(path) => put_bytes(&mut object, key, path.as_bytes()),
                    None => drop(object.insert(key.into(), Value::Null)),
                }
            }
            ("links", object)
        }
        other => ("other", values(format!("{other:?}").into(), Value::Null)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::{Entry, Kind};
    use serde_json::json;

    fn change(content: ContentChange, fields: Vec<Field>) -> Difference {
        Difference { path: "a b".into(), change: Change::Changed { content, fields } }
    }

    fn shown(difference: &Difference) -> String {
        String::from_utf8(line(difference, difference.path.as_bytes())).unwrap()
    }

    #[test]
    fn a_difference_is_one_line() {
        let entry = Box::new(Entry::new("a".into(), Kind::Fifo));
        let added = Difference { path: "a".into(), change: Change::Added(entry.clone()) };
        assert_eq!(shown(&added), "+ a\n");
        let removed = Difference { path: "a".into(), change: Change::Removed(entry) };
        assert_eq!(shown(&removed), "- a\n");
        let id = |number, name: &str| Id { number, name: name.into() };
        let fields = vec![
            Field::Mode(0o644, 0o4755),
            Field::Owner(id(0, "root"), id(7, "")),
            Field::Group(id(1, "ann"), id(2, "ann")),
            Field::Mtime(Timestamp::new(0, 0), Timestamp::new(1, 5)),
            Field::Xattr(None, Some(0xab)),
            Field::Links(None, Some("x".into())),
        ];
        assert_eq!(
            shown(&change(ContentChange::Same, fields)),
            "M a b\tmode 0644 -> 4755, owner root -> 7, group ann(1) -> ann(2), \
             mtime 1970-01-01 00:00:00 -> 1970-01-01 00:00:01.000000005, \
             xattr none -> 00000000000000ab, links itself -> x\n"
        );
        assert_eq!(shown(&change(ContentChange::Differs, vec![])), "C a b\tcontent\n");
        let fields = vec![Field::Mode(0o644, 0o600)];
        assert_eq!(
            shown(&change(ContentChange::MayDiffer, fields)),
            "C a b\tcontent unknown, mode 0644 -> 0600\n"
        );
        let fields = vec![Field::Mtime(Timestamp::new(0, 0), Timestamp::new(1, 0))];
        assert!(shown(&change(ContentChange::MayDiffer, fields)).starts_with("C a b\tmtime"));
        let fields = vec![Field::Target(b"a\n".to_vec(), b"b".to_vec())];
        assert_eq!(shown(&change(ContentChange::Differs, fields)), "C a b\ttarget a\\n -> b\n");
    }

    #[test]
    fn json_has_both_sides() {
        let fields = vec![
            Field::Size(1, 2),
            Field::Target(b"\xff".to_vec(), b"t".to_vec()),
            Field::Device((1, 2), (3, 4)),
            Field::Links(Some("x".into()), None),
            Field::Mtime(Timestamp::new(1, 0), Timestamp::new(1, 7)),
            Field::Digest([1; 32], [2; 32]),
        ];
        let value = Value::Object(object(&change(ContentChange::MayDiffer, fields)));
        assert_eq!(
            value,
            json!({"type": "changed", "path": "a b", "content": "may differ", "fields": {
                "size": {"old": 1, "new": 2},
                "target": {"old_b64": "/w==", "new": "t"},
                "device": {"old": [1, 2], "new": [3, 4]},
                "links": {"old": "x", "new": null},
                "mtime": {"old": 1, "new": 1, "new_nanos": 7},
                "sha256": {"old": "01".repeat(32), "new": "02".repeat(32)},
            }})
        );
        let entry = Box::new(Entry::new("a".into(), Kind::Fifo));
        let added = Difference { path: "a".into(), change: Change::Added(entry) };
        assert_eq!(object(&added)["type"], "added");
        assert_eq!(object(&added)["kind"], "fifo");
    }
}
