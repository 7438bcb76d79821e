//! Values as text for people: sizes, times, modes, lines of `ls -l` and of sha256sum.

use isptar_core::path::printable;
use isptar_core::{EntryRef, KindRef, MemberName, MemberPath};

/// Returns a number of bytes with a binary unit: `56.7 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Returns a count with its noun: `1 member`, `2 members`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns how large `part` is of `whole`, in percent; `-` of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Returns `YYYY-MM-DD HH:MM:SS` in UTC.
pub(crate) fn date_time(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let time = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Appends `YYYY-MM-DD HH:MM` in UTC.
fn push_minute(seconds: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let minutes = seconds.rem_euclid(86_400) / 60;
    let (hour, minute) = (minutes / 60, minutes % 60);
    if !(0..10_000).contains(&year) {
        let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}");
        return out.extend_from_slice(text.as_bytes());
    }
    let parts = [
        (year / 100, None),
        (year % 100, Some(b'-')),
        (month, Some(b'-')),
        (day, Some(b' ')),
        (hour, Some(b':')),
        (minute, None),
    ];
    for (number, end) in parts {
        // All are below 100, and none is negative.
        let digit = |number: i64| b'0' + u8::try_from(number % 10).unwrap_or(0);
        out.extend([digit(number / 10), digit(number)]);
        out.extend(end);
    }
}

/// Returns year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March have their leap day last, so that months have a closed form; 400
    // of them have 146,097 days. Day 0 is 719,468 days after 0000-03-01.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + carry, month, day)
}

/// Appends type and permissions as `ls -l` writes them: `-rwsr-xr-t`.
fn push_mode(kind: &KindRef<'_>, mode: u32, out: &mut Vec<u8>) {
    out.push(match kind {
        KindRef::Directory => b'd',
        KindRef::Symlink { .. } => b'l',
        KindRef::CharDevice { .. } => b'c',
        KindRef::BlockDevice { .. } => b'b',
        KindRef::Fifo => b'p',
        KindRef::File { .. } | KindRef::HardLink { .. } => b'-',
    });
    // Shift of the three bits, the special bit, and its letter.
    for (shift, special, mark) in [(6, 0o4000, b's'), (3, 0o2000, b's'), (0, 0o1000, b't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { b'r' } else { b'-' });
        out.push(if bits & 2 != 0 { b'w' } else { b'-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => b'x',
            (false, false) => b'-',
        });
    }
}

/// Appends all of a line of `ls -l` that stands before the name, with a space at its end.
pub(crate) fn push_long(entry: &EntryRef<'_>, out: &mut Vec<u8>) {
    push_mode(&entry.kind, entry.mode, out);
    out.push(b' ');
    push_owner(&entry.user, entry.uid, out);
    out.push(b' ');
    push_owner(&entry.group, entry.gid, out);
    out.push(b' ');
    let mut number = itoa::Buffer::new();
    match entry.kind {
        KindRef::CharDevice { major, minor } | KindRef::BlockDevice { major, minor } => {
            out.extend_from_slice(format!("{:>12}", format!("{major}, {minor}")).as_bytes());
        }
        _ => {
            let digits = number.format(entry.kind.size());
            pad(12usize.saturating_sub(digits.len()), out);
            out.extend_from_slice(digits.as_bytes());
        }
    }
    out.push(b' ');
    match entry.mtime {
        Some(time) => push_minute(time.seconds(), out),
        None => out.extend_from_slice(b"-               "),
    }
    out.push(b' ');
}

fn pad(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, b' ');
}

/// Appends the name of an owner, or its number, at least 8 columns wide.
fn push_owner(name: &[u8], number: u64, out: &mut Vec<u8>) {
    const WIDTH: usize = 8;
    let mut digits = itoa::Buffer::new();
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    let width = if name.is_empty() {
        let digits = digits.format(number);
        out.extend_from_slice(digits.as_bytes());
        digits.len()
    } else if name.iter().all(is_plain) {
        out.extend_from_slice(name);
        name.len()
    } else {
        let shown = printable(name);
        out.extend_from_slice(shown.as_bytes());
        shown.chars().count()
    };
    pad(WIDTH.saturating_sub(width), out);
}

/// Returns what a line of `ls -l` says after the name: the words, and the target's bytes.
pub(crate) fn leads_to<'a>(kind: &'a KindRef<'_>) -> Option<(&'static str, &'a [u8])> {
    match kind {
        KindRef::Symlink { target } => Some((" -> ", target)),
        KindRef::HardLink { target } => Some((" link to ", target.as_bytes())),
        _ => None,
    }
}

/// Returns a line that `sha256sum -c` takes, without its line feed.
pub(crate) fn sha256_line(digest: &[u8; 32], name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            byte => escaped.push(byte),
        }
    }
    let mut line = Vec::with_capacity(escaped.len() + 67);
    if escaped.len() != name.len() {
        // The mark by which sha256sum knows that the name is escaped.
        line.push(b'\\');
    }
    line.extend_from_slice(data_encoding::HEXLOWER.encode(digest).as_bytes());
    line.extend_from_slice(b"  ");
    line.extend_from_slice(&escaped);
    line
}

/// Returns `line` with what could confuse a terminal escaped; escapes that are there stay.
pub(crate) fn sanitize(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for part in line.split_inclusive('\\') {
        let (text, backslash) = match part.strip_suffix('\\') {
            Some(text) => (text, "\\"),
            None => (part, ""),
        };
        shown.push_str(&printable(text.as_bytes()));
        shown.push_str(backslash);
    }
    shown
}

/// Returns a member's name without a leading `/` or `./` and a `/` at its end, as the names in our
/// own archives are.
pub(crate) fn plain_name<'a>(path: &'a MemberName<'_>) -> MemberName<'a> {
    if path.is_canonical() {
        return path.borrowed();
    }
    let mut parts: Vec<&[u8]> = path.as_bytes().split(|&byte| byte == b'/').collect();
    parts.retain(|part| !matches!(*part, b"" | b"."));
    if parts.is_empty() { MemberPath::from(".") } else { MemberPath::new(parts.join(&b'/')) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isptar_core::{Entry, Kind, Timestamp};

    #[test]
    fn sizes_have_one_decimal_and_a_unit() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (59_454_259, "56.6 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 0), "-");
        assert_eq!((count(1, "file"), count(2, "file")), ("1 file".into(), "2 files".into()));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (4_102_444_800, "2100-01-01 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (1_700_000_000, "2023-11-14 22:13:20"),
            (253_402_300_800, "10000-01-01 00:00:00"),
            (-62_167_219_200, "0000-01-01 00:00:00"),
        ] {
            assert_eq!(date_time(seconds), shown);
        }
        // No time that an archive may claim is a panic.
        for seconds in [0, -1, 951_782_400, 253_402_300_800, -62_167_219_201, i64::MIN, i64::MAX] {
            let mut minute = Vec::new();
            push_minute(seconds, &mut minute);
            let second = date_time(seconds).into_bytes();
            assert_eq!(minute, second[..second.len() - 3], "{seconds}");
        }
    }

    #[test]
    fn modes_are_written_as_ls_does() {
        let mode = |kind: &Kind, mode| {
            let mut text = Vec::new();
            push_mode(&kind.borrowed(), mode, &mut text);
            String::from_utf8(text).unwrap()
        };
        let file = Kind::File { size: 0 };
        for (bits, shown) in [
            (0o644, "-rw-r--r--"),
            (0o4755, "-rwsr-xr-x"),
            (0o2755, "-rwxr-sr-x"),
            (0o1777, "-rwxrwxrwt"),
            (0o7000, "---S--S--T"),
        ] {
            assert_eq!(mode(&file, bits), shown);
        }
        assert_eq!(mode(&Kind::Directory, 0o755), "drwxr-xr-x");
        assert_eq!(mode(&Kind::Symlink { target: Vec::new() }, 0o777), "lrwxrwxrwx");
    }

    #[test]
    fn long_lines_have_owner_size_and_time() {
        let long = |entry: &Entry| {
            let mut text = Vec::new();
            push_long(&entry.borrowed(), &mut text);
            String::from_utf8(text).unwrap()
        };
        let mut entry = Entry::new("a".into(), Kind::File { size: 1234 });
        entry.mode = 0o644;
        entry.user = b"root".to_vec();
        entry.gid = 1000;
        entry.mtime = Some(Timestamp::new(1_700_000_000, 5));
        assert_eq!(long(&entry), "-rw-r--r-- root     1000             1234 2023-11-14 22:13 ");
        entry.kind = Kind::CharDevice { major: 1, minor: 3 };
        entry.mtime = None;
        assert_eq!(long(&entry), "crw-r--r-- root     1000             1, 3 -                ");
        entry.user = "Zoë\n".into();
        assert!(long(&entry).starts_with("crw-r--r-- Zoë\\n    1000 "));
    }

    #[test]
    fn digest_lines_escape_as_sha256sum_does() {
        let digest = [0xab; 32];
        let hex = "ab".repeat(32);
        assert_eq!(sha256_line(&digest, b"a b"), format!("{hex}  a b").into_bytes());
        assert_eq!(sha256_line(&digest, b"a\n\\"), format!("\\{hex}  a\\n\\\\").into_bytes());
    }

    #[test]
    fn lines_for_a_terminal_have_no_control_characters() {
        assert_eq!(sanitize("cannot open a\x1b[31m\\n"), "cannot open a\\u{1b}[31m\\n");
        assert_eq!(sanitize("a\\\\b"), "a\\\\b");
    }

    #[test]
    fn names_of_foreign_tars_are_matched_without_dots() {
        for (name, plain) in [("./a/b/", "a/b"), ("/etc", "etc"), ("./", "."), ("a", "a")] {
            assert_eq!(plain_name(&MemberPath::from(name)), plain.into());
        }
    }
}
