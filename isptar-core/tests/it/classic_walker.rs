//! The layout of classic archives, checked by a walker of gzip streams and tar headers that shares
//! no code with the library.

use std::io::Read;

use flate2::bufread::GzDecoder;

/// One gzip stream: where it is, and what it holds.
pub(crate) struct Stream {
    pub(crate) offset: usize,
    pub(crate) packed: usize,
    pub(crate) text: Vec<u8>,
}

/// What a header in the tar says; headers that belong to the next one are joined with it.
struct Head {
    name: Vec<u8>,
    typeflag: u8,
    size: usize,
    /// How many bytes of tar it is.
    len: usize,
}

/// Takes an archive apart: nothing may stand between streams, or behind the last.
pub(crate) fn streams(archive: &[u8]) -> Vec<Stream> {
    let mut all = Vec::new();
    let mut offset = 0;
    while offset < archive.len() {
        let mut decoder = GzDecoder::new(&archive[offset..]);
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).unwrap_or_else(|error| panic!("at {offset}: {error}"));
        let packed = archive.len() - offset - decoder.into_inner().len();
        all.push(Stream { offset, packed, text });
        offset += packed;
    }
    all
}

/// Checks an archive against each rule of FORMAT.md 10.4, and returns the text of its listing.
pub(crate) fn check(archive: &[u8]) -> Vec<u8> {
    check_slices(archive, usize::MAX)
}

/// The same of slices put together, of which all before that with the listing's end are `size` long.
pub(crate) fn check_slices(archive: &[u8], size: usize) -> Vec<u8> {
    let streams = streams(archive);
    let (data, tail) = streams.split_at(streams.len() - 4);
    let [info_header, listing, info, trailer] = tail else { panic!("four streams end it") };
    check_tail(info_header, listing, info, trailer);
    let located = check_data(data);
    let tar: Vec<u8> = streams.iter().flat_map(|stream| stream.text.clone()).collect();
    assert_eq!(tar.len() % 512, 0, "a tar is made of blocks");
    check_lines(&listing.text, &located, size, &names_in(&tar));
    listing.text.clone()
}

/// The listing, the archive info that says how long it is, and the trailer that says how long that
/// is.
fn check_tail(info_header: &Stream, listing: &Stream, info: &Stream, trailer: &Stream) {
    assert!((20..=39).contains(&trailer.packed), "trailer of {} bytes", trailer.packed);
    let digits = trailer.text.iter().position(|&byte| byte == 0).unwrap();
    let (digits, zeros) = trailer.text.split_at(digits);
    assert_eq!(digits, info.packed.to_string().as_bytes());
    assert!(zeros.iter().all(|&byte| byte == 0) && zeros.len() >= 1024);
    let expected = format!(
        "listing_header=512\nlisting_real_size={}\nlisting_size={}\n",
        listing.text.len(),
        listing.packed
    );
    let text = std::str::from_utf8(&info.text).unwrap();
    let (keys, parts) = text.strip_suffix("header_size=").unwrap().split_at(expected.len());
    assert_eq!(keys, expected);
    assert!(parts.is_empty() || parts.starts_with("parts="), "{parts}");
    assert!(listing.text.ends_with(b"\n\n") || listing.text == b"\n");
    let head = head(&info_header.text);
    assert_eq!((info_header.text.len(), head.name.as_slice()), (512, &b".backup.info"[..]));
    assert_eq!(&info_header.text[100..108], b"0000400\0");
    assert_eq!(head.size, listing.text.len() + info.text.len() + digits.len());
    let rest = zeros.len() - 1024;
    assert!(rest < 512 && (head.size + rest).is_multiple_of(512), "padding of {rest} bytes");
}

/// The first stream has headers up to that of the first file with data; each other has the data of
/// that file, padding, and headers up to that of the next. After data that is stored the original
/// puts the headers into a stream of their own. Returns the files, in order, with where
/// their data begins.
fn check_data(streams: &[Stream]) -> Vec<(Vec<u8>, usize)> {
    let mut located = Vec::new();
    let mut next: Option<(Vec<u8>, usize)> = None;
    let mut may_be_headers = true;
    for stream in streams {
        let mut at = 0;
        match next.take() {
            Some((name, size)) => {
                located.push((name, stream.offset));
                at = size.next_multiple_of(512);
                assert!(stream.text[size..at].iter().all(|&byte| byte == 0), "padding");
            }
            None => assert!(may_be_headers, "a stream of headers alone at {}", stream.offset),
        }
        may_be_headers = at == stream.text.len();
        while at < stream.text.len() {
            assert!(next.is_none(), "the header of a file with data ends its stream");
            let head = head(&stream.text[at..]);
            next = (head.typeflag == b'0' && head.size > 0).then_some((head.name, head.size));
            at += head.len;
        }
        assert_eq!(at, stream.text.len());
    }
    assert!(next.is_none(), "the last header has its data");
    located
}

/// Every line is the member at its place, and has a location when it has data.
fn check_lines(listing: &[u8], located: &[(Vec<u8>, usize)], size: usize, names: &[Vec<u8>]) {
    let (mut located, mut names) = (located.iter(), names.iter());
    for line in listing.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
        let name = unescaped(fields[0]);
        let next = names.next().unwrap();
        assert_eq!(next.escape_ascii().to_string(), name.escape_ascii().to_string());
        let has_data = fields[4] == b"file" && fields[6] != b"0";
        let expected = match fields[4] {
            b"file" => 7 + usize::from(has_data),
            b"dir" | b"fifo" => 5,
            b"link" | b"hard" => 6,
            _ => 7,
        };
        assert_eq!(fields.len(), expected, "{}", line.escape_ascii());
        if has_data {
            let (file, offset) = located.next().unwrap();
            let place = format!("0:{}:{}:0", offset / size + 1, offset % size);
            assert_eq!((file, fields[7]), (&name, place.as_bytes()));
        }
    }
    assert!(located.next().is_none() && names.next().is_none(), "all members are listed");
}

/// The names in a tar, but for the root of the tree and the listing.
fn names_in(tar: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut at = 0;
    while tar[at] != 0 {
        let head = head(&tar[at..]);
        at += head.len + head.size.next_multiple_of(512);
        names.push(head.name);
    }
    assert!(tar[at..].iter().all(|&byte| byte == 0) && tar.len() - at >= 1024);
    assert_eq!(names.pop().unwrap(), b".backup.info");
    names.retain(|name| !name.is_empty());
    names
}

/// Reads a header, and those before it that speak of it.
fn head(tar: &[u8]) -> Head {
    let (mut long, mut len) = (None, 0);
    loop {
        let block: &[u8; 512] = tar[len..].first_chunk().unwrap();
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        let stored: u32 = block[148..156].iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(u64::from(sum - stored + 8 * 32), octal(&block[148..154]), "checksum");
        len += 512;
        let size = usize::try_from(octal(&block[124..135])).unwrap();
        let text = |range: std::ops::Range<usize>| {
            block[range].split(|&byte| byte == 0).next().unwrap().to_vec()
        };
        let body = tar.get(len..len + size);
        match block[156] {
            b'x' | b'K' => len += size.next_multiple_of(512),
            b'L' => {
                long = Some(body.unwrap().split(|&byte| byte == 0).next().unwrap().to_vec());
                len += size.next_multiple_of(512);
            }
            typeflag => {
                let prefix = text(345..500);
                let short = match prefix.is_empty() {
                    true => text(0..100),
                    false => [prefix, text(0..100)].join(&b'/'),
                };
                let mut name = long.unwrap_or(short);
                name = name.strip_prefix(b"./").map(<[u8]>::to_vec).unwrap_or(name);
                name = name.strip_suffix(b"/").map(<[u8]>::to_vec).unwrap_or(name);
                let size = if typeflag == b'0' { size } else { 0 };
                return Head { name, typeflag, size, len };
            }
        }
    }
}

fn octal(digits: &[u8]) -> u64 {
    u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 8).unwrap()
}

fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = name.strip_prefix(b"./").unwrap_or(name).iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().unwrap() {
                b't' => b'\t',
                b'n' => b'\n',
                b'\\' => b'\\',
                other => panic!("escape {other}"),
            },
            byte => byte,
        });
    }
    out
}
