//! Damaged archives: found out, never believed, never a panic.

use isptar_core::{Archive, Entry, ReadAt, Result};

use super::support::{Item, Seen, build, dir, file, link, noise, read, scan};

fn small() -> Vec<Item> {
    vec![dir("d"), file("d/f", b"some text, some text"), file("e", b""), link("l", "d/f")]
}

/// All that an archive says: entries, and of each its header and content.
fn everything<R: ReadAt>(archive: &Archive<R>) -> Result<Vec<(Entry, Result<Seen>)>> {
    let listed: Vec<Entry> = archive.entries().collect::<Result<_>>()?;
    let whole = |entry: &Entry| {
        let header = archive.member(entry)?.header().clone();
        Ok((header, read(archive, entry)?))
    };
    Ok(listed.into_iter().map(|entry| (entry.clone(), whole(&entry))).collect())
}

#[test]
fn every_cut_is_found_out() {
    for level in [0, 6] {
        let bytes = build(&small(), level);
        for len in 0..bytes.len() {
            assert!(Archive::open(&bytes[..len]).is_err(), "level {level}, {len} bytes");
            let (_, ended) = scan(&bytes[..len]);
            assert!(!matches!(ended, Ok(false)), "level {level}, {len} bytes");
        }
    }
}

#[test]
fn bytes_behind_an_archive_are_found_out() {
    for level in [0, 6] {
        let bytes = build(&small(), level);
        for junk in [b"\0".as_slice(), b"x", &[0; 512], &bytes] {
            let longer = [bytes.as_slice(), junk].concat();
            assert!(Archive::open(longer).is_err());
        }
    }
}

#[test]
fn no_flipped_byte_gives_wrong_content() {
    for level in [0, 6] {
        let bytes = build(&small(), level);
        let archive = Archive::open(bytes.as_slice()).unwrap();
        let good = everything(&archive).unwrap();
        let (scanned, _) = scan(bytes.as_slice());
        let mut damaged = bytes.clone();
        for at in 0..bytes.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                damaged[at] = bytes[at] ^ flip;
                if let Ok(seen) =
                    Archive::open(damaged.as_slice()).and_then(|archive| everything(&archive))
                {
                    same_or_error(&good, &seen, &format!("level {level}, {flip:#x} at {at}"));
                }
                if let (seen, Ok(false)) = scan(damaged.as_slice()) {
                    assert_eq!(seen, scanned, "level {level}, {flip:#x} at {at}");
                }
            }
            damaged[at] = bytes[at];
        }
    }
}

fn same_or_error(good: &[(Entry, Result<Seen>)], seen: &[(Entry, Result<Seen>)], what: &str) {
    assert_eq!(good.len(), seen.len(), "{what}");
    let mut failed = 0;
    for ((good, good_content), (seen, content)) in good.iter().zip(seen) {
        assert_eq!(good, seen, "{what}");
        match content {
            Ok(content) => assert_eq!(good_content.as_ref().unwrap(), content, "{what}"),
            Err(_) => failed += 1,
        }
    }
    assert!(failed <= 1, "{what}: damage costs one member");
}

#[test]
fn damage_in_a_chunk_leaves_the_others() {
    let data = noise(3 << 20, 9);
    let mut bytes = build(&[file("f", &data)], 0);
    let archive = Archive::open(bytes.as_slice()).unwrap();
    let entry = archive.find(&"f".into()).unwrap().unwrap();
    let second =
        entry.range().unwrap().0 + entry.chunks.as_ref().unwrap().packed[..2].iter().sum::<u64>();
    drop(archive);
    bytes[usize::try_from(second).unwrap() + 1000] ^= 4;
    let archive = Archive::open(bytes).unwrap();
    let mib = 1 << 20;
    for (chunk, good) in [(0, true), (1, false), (2, true)] {
        let mut out = Vec::new();
        let copied = archive.copy_range(&entry, chunk * mib + 5, (chunk + 1) * mib, &mut out);
        assert_eq!(copied.is_ok(), good, "{chunk}");
        let start = usize::try_from(chunk * mib + 5).unwrap();
        if good {
            assert!(out == data[start..(start - 5) + (1 << 20)]);
        } else {
            assert!(out.is_empty(), "bytes of a damaged chunk were given out");
        }
    }
}

#[test]
fn garbage_is_refused() {
    let archive = build(&small(), 6);
    let good = everything(&Archive::open(archive.as_slice()).unwrap()).unwrap();
    let end = archive[archive.len() - 64..].to_vec();
    let mut inputs = vec![Vec::new(), end.clone(), [noise(9999, 3), end].concat()];
    for seed in 0..50 {
        let mut bytes = noise(usize::try_from(seed * 37).unwrap(), seed);
        inputs.push(bytes.clone());
        bytes.splice(0..0, [0x1f, 0x8b, 8, 0]);
        inputs.push(bytes);
        // The end of a good archive behind garbage of the right length.
        let at = usize::try_from(seed).unwrap() * archive.len() / 50;
        inputs.push([noise(at, seed + 1), archive[at..].to_vec()].concat());
    }
    for bytes in inputs {
        let seen = Archive::open(bytes.as_slice()).and_then(|archive| everything(&archive));
        for (number, (entry, content)) in seen.into_iter().flatten().enumerate() {
            assert_eq!(entry, good[number].0);
            assert!(content.is_err() || content.ok() == good[number].1.as_ref().ok().cloned());
        }
        let _ended = scan(bytes.as_slice());
    }
}
