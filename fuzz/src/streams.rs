//! The gzip layer, against a reading of its own.

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use isptar_core::TarReader;
use isptar_core::format::gzip::{HEAD, Head, TAIL_LEN};

use crate::agree::{Plain, read_plain};
use crate::archives::{CONTENT, limits};
use crate::craft::push_stream;
use crate::input::Input;

/// A stream and what it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// Where it begins in the archive.
    pub(crate) offset: u64,
    /// Where its content begins in the tar.
    pub(crate) tar_offset: usize,
}

/// Returns the streams of an archive up to the first that is not whole, and what they hold. The
/// CRC is not looked at.
pub(crate) fn walk(data: &[u8]) -> (Vec<Stream>, Vec<u8>) {
    let (mut streams, mut tar) = (Vec::new(), Vec::new());
    let mut rest = data;
    while let Some(body) = skip_head(rest) {
        let stream = Stream { offset: (data.len() - rest.len()) as u64, tar_offset: tar.len() };
        let Some(used) = inflate(body, &mut tar) else { break };
        let Some(next) = body.get(used + TAIL_LEN..) else { break };
        streams.push(stream);
        rest = next;
    }
    (streams, tar)
}

fn skip_head(data: &[u8]) -> Option<&[u8]> {
    let (fixed, mut rest) = data.split_first_chunk::<{ HEAD.len() }>()?;
    let head = Head::parse(fixed).ok()?;
    if head.has_extra() {
        let (len, after) = rest.split_first_chunk()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for _ in 0..head.strings() {
        let end = rest.iter().position(|&byte| byte == 0)?;
        rest = &rest[end + 1..];
    }
    rest.get(if head.has_crc() { 2 } else { 0 }..)
}

/// Appends what a deflated body holds; returns its length.
fn inflate(body: &[u8], tar: &mut Vec<u8>) -> Option<usize> {
    let mut state = Decompress::new(false);
    loop {
        tar.reserve(4096);
        let (used, len) = (state.total_in(), tar.len());
        let rest = &body[usize::try_from(used).ok()?..];
        match state.decompress_vec(rest, tar, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return usize::try_from(state.total_in()).ok(),
            Ok(_) if state.total_in() > used || tar.len() > len => {}
            _ => return None,
        }
        if tar.len() as u64 > CONTENT {
            return None;
        }
    }
}

/// Streams of any shape are read as another decoder reads them, and then as a plain tar is.
pub fn gzip_streams(data: &[u8]) {
    let mut input = Input::new(data);
    let bytes =
        if input.byte().is_multiple_of(2) { shaped(&mut input) } else { input.rest().to_vec() };
    let Ok(mut tar) = TarReader::new(bytes.as_slice(), limits()) else { return };
    let ours = read_plain(&mut tar);
    let mut plain = Vec::new();
    let decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
    let decoded = decoder.take(CONTENT).read_to_end(&mut plain);
    // What another decoder takes whole, we take, and it says the same.
    if decoded.is_err() || plain.len() as u64 == CONTENT || plain.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    let mut tar = TarReader::new(plain.as_slice(), limits()).expect("memory gives all");
    let theirs: Plain = read_plain(&mut tar);
    assert_eq!(ours.whole, theirs.whole);
    assert!(ours.members == theirs.members);
}

/// Cuts the input into streams with all that a head may have.
fn shaped(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !input.is_empty() && bytes.len() < 1 << 16 {
        match input.byte() % 8 {
            0 => bytes.extend_from_slice(&input.text()),
            1 => bytes.resize(bytes.len() + usize::from(input.byte()), 0),
            2 => push_with_fields(input, &mut bytes),
            3 => push_stream(&[0; 512], &mut bytes),
            4 => push_stream(&[], &mut bytes),
            5 => {
                let mut block = input.text();
                block.resize(block.len().next_multiple_of(512), 0);
                push_stream(&block, &mut bytes);
            }
            _ => push_stream(&input.text(), &mut bytes),
        }
    }
    bytes
}

/// Appends a stream whose head has fields.
fn push_with_fields(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let mut stream = Vec::new();
    let flags = input.byte();
    let (fields, len) = (input.text(), input.byte());
    push_stream(&input.text(), &mut stream);
    stream[3] = flags;
    out.extend_from_slice(&stream[..HEAD.len()]);
    if flags & 4 != 0 {
        out.extend_from_slice(&[len, 0]);
    }
    out.extend_from_slice(&fields);
    out.extend_from_slice(&stream[HEAD.len()..]);
}
