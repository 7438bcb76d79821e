//! Deflating a few kilobytes (RFC 1951).
//!
//! Compressors made for long streams clear some 200 KB of tables before each one, which takes
//! longer than to compress a small file. This one finds matches with a table of 4 KB, and writes
//! one block.

#![allow(
    clippy::cast_possible_truncation,
    reason = "all numbers are places in 8 KiB, symbols, or bits of codes"
)]

use std::ops::Range;

/// Most bytes that are compressed.
pub(crate) const MOST: usize = 8 << 10;

const HASH_BITS: u32 = 11;

/// Shortest and longest match.
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;

/// Farthest match of three bytes that is shorter than its literals.
const NEAR: usize = 512;

/// Numbers of symbols: literals, the end of the block and lengths; distances; lengths of codes.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const LENGTHS: usize = 19;

/// The symbol that ends a block.
const END: usize = 256;

/// The order in which the lengths of the codes of code lengths are written.
const LENGTH_ORDER: [usize; LENGTHS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Compresses small streams; reusable.
pub(crate) struct SmallPacker {
    /// Candidates that are looked at for each match; how long one is that is good enough.
    depth: u32,
    nice: usize,
    /// Where bytes of a hash were seen last, and before that, each one more than it is.
    heads: Box<[u16; 1 << HASH_BITS]>,
    previous: Box<[u16; MOST]>,
    tokens: Vec<Token>,
    literals: Code<LITERALS>,
    distances: Code<DISTANCES>,
    lengths: Code<LENGTHS>,
    keys: Vec<u32>,
}

/// A literal, or a match.
#[derive(Clone, Copy)]
struct Token {
    /// The literal; or the length of a match.
    value: u16,
    /// 0 for a literal.
    distance: u16,
}

/// A prefix code.
struct Code<const N: usize> {
    counts: [u16; N],
    lens: [u8; N],
    /// Codes, first bit lowest.
    codes: [u16; N],
}

impl<const N: usize> Code<N> {
    fn new() -> Self {
        Self { counts: [0; N], lens: [0; N], codes: [0; N] }
    }

    /// Makes the code of least length for the counts, with codes of at most `limit` bits.
    fn build(&mut self, limit: usize, keys: &mut Vec<u32>) {
        keys.clear();
        let used = self.counts.iter().zip(0u32..).filter(|(count, _)| **count > 0);
        keys.extend(used.map(|(&count, symbol)| u32::from(count) << 9 | symbol));
        // Readers want at least two codes.
        for symbol in 0..2 {
            if keys.len() < 2 && self.counts[symbol as usize] == 0 {
                keys.push(1 << 9 | symbol);
            }
        }
        keys.sort_unstable();
        let mut numbers = code_lengths(keys);
        limit_lengths(&mut numbers, limit);
        self.lens = [0; N];
        let mut rest = keys.iter();
        for (len, &number) in numbers.iter().enumerate().rev() {
            for &key in rest.by_ref().take(usize::from(number)) {
                self.lens[(key & 0x1ff) as usize] = len as u8;
            }
        }
        self.assign(&numbers);
    }

    /// Gives out the codes in order of length and symbol.
    fn assign(&mut self, numbers: &[u16; 33]) {
        let mut next = [0u32; 17];
        let mut code = 0;
        for len in 1..=15 {
            code = (code + u32::from(numbers[len - 1])) << 1;
            next[len] = code;
        }
        for (symbol, &len) in self.lens.iter().enumerate().filter(|(_, len)| **len > 0) {
            let code = next[usize::from(len)];
            next[usize::from(len)] += 1;
            self.codes[symbol] = (code as u16).reverse_bits() >> (16 - len);
        }
    }
}

/// Returns how many symbols get codes of each length, for keys that have counts above their lowest
/// nine bits, in ascending order (Moffat and Katajainen).
fn code_lengths(keys: &[u32]) -> [u16; 33] {
    let mut numbers = [0u16; 33];
    let n = keys.len();
    let mut weights = [0u32; LITERALS];
    for (weight, key) in weights.iter_mut().zip(keys) {
        *weight = key >> 9;
    }
    let (mut root, mut leaf) = (0, 0);
    for next in 0..n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            if leaf >= n || (root < next && weights[root] < weights[leaf]) {
                sum += weights[root];
                weights[root] = next as u32;
                root += 1;
            } else {
                sum += weights[leaf];
                leaf += 1;
            }
        }
        weights[next] = sum;
    }
    // Depths of the inner nodes, from the root down; then how many leaves there are at each.
    weights[n - 2] = 0;
    for next in (0..n - 2).rev() {
        weights[next] = weights[weights[next] as usize] + 1;
    }
    let (mut available, mut depth, mut inner) = (1u32, 0usize, n - 1);
    while available > 0 {
        let mut used = 0;
        while inner > 0 && weights[inner - 1] as usize == depth {
            used += 1;
            inner -= 1;
        }
        numbers[depth.min(32)] += (available - used) as u16;
        available = 2 * used;
        depth += 1;
    }
    numbers
}

/// Moves symbols so that no code is longer than `limit`.
fn limit_lengths(numbers: &mut [u16; 33], limit: usize) {
    let longer: u16 = numbers[limit + 1..].iter().sum();
    if longer == 0 {
        return;
    }
    numbers[limit + 1..].fill(0);
    numbers[limit] += longer;
    let mut total: u32 = (1..=limit).map(|len| u32::from(numbers[len]) << (limit - len)).sum();
    while total > 1 << limit {
        numbers[limit] -= 1;
        if let Some(len) = (1..limit).rev().find(|&len| numbers[len] > 0) {
            numbers[len] -= 1;
            numbers[len + 1] += 2;
        }
        total -= 1;
    }
}

/// Collects bits, the first one lowest.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Appends the lowest `count` bits, at most 16, of `value`, which has no others.
    #[inline]
    fn push(&mut self, value: u32, count: u32) {
        self.held |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    fn finish(self) {
        let bytes = self.held.to_le_bytes();
        self.out.extend_from_slice(&bytes[..self.count.div_ceil(8) as usize]);
    }
}

/// Returns symbol, number and value of the extra bits of a length.
#[inline]
fn length_symbol(len: usize) -> (usize, u32, u32) {
    match len - MIN_MATCH {
        255 => (285, 0, 0),
        rest @ 0..8 => (257 + rest, 0, 0),
        rest => {
            let bits = rest.ilog2() - 2;
            let symbol = 257 + 4 * bits as usize + (rest >> bits);
            (symbol, bits, (rest & ((1 << bits) - 1)) as u32)
        }
    }
}

/// Returns symbol, number and value of the extra bits of a distance.
#[inline]
fn distance_symbol(distance: usize) -> (usize, u32, u32) {
    match distance - 1 {
        rest @ 0..4 => (rest, 0, 0),
        rest => {
            let bits = rest.ilog2() - 1;
            let symbol = 2 * bits as usize + (rest >> bits);
            (symbol, bits, (rest & ((1 << bits) - 1)) as u32)
        }
    }
}

impl SmallPacker {
    /// Makes one for a level.
    pub(crate) fn new(level: u8) -> Self {
        let (depth, nice) = match level {
            0..=2 => (4, 16),
            3..=4 => (12, 32),
            5..=6 => (32, 80),
            _ => (128, MAX_MATCH),
        };
        Self {
            depth,
            nice,
            heads: Box::new([0; 1 << HASH_BITS]),
            previous: Box::new([0; MOST]),
            tokens: Vec::new(),
            literals: Code::new(),
            distances: Code::new(),
            lengths: Code::new(),
            keys: Vec::new(),
        }
    }

    /// Appends `data`, which has at most [`MOST`] bytes, as one deflate stream.
    pub(crate) fn deflate(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.find_matches(data);
        self.literals.build(15, &mut self.keys);
        self.distances.build(15, &mut self.keys);
        let mut bits = Bits { out, held: 0, count: 0 };
        bits.push(0b101, 3);
        self.push_codes(&mut bits);
        for &Token { value, distance } in &self.tokens {
            let value = usize::from(value);
            if distance == 0 {
                bits.push(u32::from(self.literals.codes[value]), self.literals.lens[value].into());
                continue;
            }
            let (symbol, count, extra) = length_symbol(value);
            bits.push(u32::from(self.literals.codes[symbol]), self.literals.lens[symbol].into());
            bits.push(extra, count);
            let (symbol, count, extra) = distance_symbol(distance.into());
            bits.push(u32::from(self.distances.codes[symbol]), self.distances.lens[symbol].into());
            bits.push(extra, count);
        }
        bits.push(u32::from(self.literals.codes[END]), self.literals.lens[END].into());
        bits.finish();
    }

    /// Writes the lengths of the codes.
    fn push_codes(&mut self, bits: &mut Bits<'_>) {
        let used = |lens: &[u8], least: usize| {
            lens.iter().rposition(|&len| len > 0).map_or(least, |last| (last + 1).max(least))
        };
        let literals = used(&self.literals.lens, 257);
        let distances = used(&self.distances.lens, 1);
        let mut lens = [0; LITERALS + DISTANCES];
        lens[..literals].copy_from_slice(&self.literals.lens[..literals]);
        lens[literals..literals + distances].copy_from_slice(&self.distances.lens[..distances]);
        let mut runs = [(0u8, 0u8); LITERALS + DISTANCES];
        let runs = find_runs(&lens[..literals + distances], &mut runs);
        self.lengths.counts = [0; LENGTHS];
        for (symbol, _) in runs.iter() {
            self.lengths.counts[usize::from(*symbol)] += 1;
        }
        self.lengths.build(7, &mut self.keys);
        let last = LENGTH_ORDER.iter().rposition(|&symbol| self.lengths.lens[symbol] > 0);
        let count = last.map_or(4, |last| (last + 1).max(4));
        bits.push((literals - 257) as u32, 5);
        bits.push((distances - 1) as u32, 5);
        bits.push((count - 4) as u32, 4);
        for &symbol in &LENGTH_ORDER[..count] {
            bits.push(self.lengths.lens[symbol].into(), 3);
        }
        for &(symbol, extra) in runs.iter() {
            let at = usize::from(symbol);
            bits.push(u32::from(self.lengths.codes[at]), self.lengths.lens[at].into());
            match symbol {
                16 => bits.push(extra.into(), 2),
                17 => bits.push(extra.into(), 3),
                18 => bits.push(extra.into(), 7),
                _ => {}
            }
        }
    }

    /// Cuts `data` into literals and matches, and counts the symbols.
    fn find_matches(&mut self, data: &[u8]) {
        self.tokens.clear();
        self.heads.fill(0);
        self.literals.counts = [0; LITERALS];
        self.distances.counts = [0; DISTANCES];
        self.literals.counts[END] = 1;
        let mut at = 0;
        let mut ahead = None;
        while at < data.len() {
            let (len, distance) = ahead.take().unwrap_or_else(|| self.longest(data, at, 0));
            if len < MIN_MATCH {
                self.literal(data[at]);
                at += 1;
                continue;
            }
            if len < self.nice && at + 1 < data.len() {
                // A longer one right behind is better.
                let next = self.longest(data, at + 1, len);
                if next.0 > len {
                    self.literal(data[at]);
                    at += 1;
                    ahead = Some(next);
                    continue;
                }
                self.skip(data, at + 2..at + len, distance);
            } else {
                self.skip(data, at + 1..at + len, distance);
            }
            self.matched(len, distance);
            at += len;
        }
    }

    fn literal(&mut self, byte: u8) {
        self.literals.counts[usize::from(byte)] += 1;
        self.tokens.push(Token { value: byte.into(), distance: 0 });
    }

    fn matched(&mut self, len: usize, distance: usize) {
        self.literals.counts[length_symbol(len).0] += 1;
        self.distances.counts[distance_symbol(distance).0] += 1;
        self.tokens.push(Token { value: len as u16, distance: distance as u16 });
    }

    /// Notes the positions of a match, the first of which is noted already.
    fn skip(&mut self, data: &[u8], range: Range<usize>, distance: usize) {
        let mut rest = range.clone();
        // A run of one byte, such as headers and padding have: all places in it have one hash, and
        // the place before each is right before it.
        if distance == 1 && range.len() > MIN_MATCH {
            rest.start = range.end + 1 - MIN_MATCH;
            for (previous, at) in self.previous[range.start..rest.start].iter_mut().zip(range) {
                *previous = at as u16;
            }
            if let Some(hash) = hash(data, rest.start - 1) {
                self.heads[hash] = rest.start as u16;
            }
        }
        for at in rest {
            self.note(data, at);
        }
    }

    /// Notes a position; returns the one before that has the same hash, plus one.
    #[inline]
    fn note(&mut self, data: &[u8], at: usize) -> u16 {
        let Some(hash) = hash(data, at) else { return 0 };
        let before = self.heads[hash];
        self.heads[hash] = at as u16 + 1;
        self.previous[at] = before;
        before
    }

    /// Returns length and distance of the longest match that is longer than `than`, and notes the
    /// position.
    fn longest(&mut self, data: &[u8], at: usize, than: usize) -> (usize, usize) {
        let mut candidate = self.note(data, at);
        let most = MAX_MATCH.min(data.len() - at);
        let (mut best, mut distance) = (than.max(MIN_MATCH - 1), 0);
        let mut left = self.depth;
        while candidate > 0 && left > 0 && best < most {
            let start = usize::from(candidate) - 1;
            if data[start + best] == data[at + best] {
                let len = common(&data[start..], &data[at..at + most]);
                if len > best && (len > MIN_MATCH || at - start <= NEAR) {
                    (best, distance) = (len, at - start);
                    if len >= self.nice {
                        break;
                    }
                }
            }
            candidate = self.previous[start];
            left -= 1;
        }
        if distance == 0 { (0, 0) } else { (best, distance) }
    }
}

/// Returns the hash of the bytes that a match at a place must have, if there are so many.
#[inline]
fn hash(data: &[u8], at: usize) -> Option<usize> {
    let &[a, b, c] = data.get(at..)?.first_chunk()?;
    let value = u32::from_le_bytes([a, b, c, 0]);
    Some((value.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)
}

/// Returns how many bytes `a` and `b` begin with that are the same; `a` is at least as long.
#[inline]
fn common(a: &[u8], b: &[u8]) -> usize {
    let (one, rest) = a[..b.len()].as_chunks::<8>();
    let (other, tail) = b.as_chunks::<8>();
    for (at, (one, other)) in one.iter().zip(other).enumerate() {
        let differs = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differs != 0 {
            return 8 * at + (differs.trailing_zeros() / 8) as usize;
        }
    }
    let same = rest.iter().zip(tail).take_while(|(one, other)| one == other).count();
    8 * one.len() + same
}

/// Writes lengths of codes as the symbols of RFC 1951: lengths, repeats, zeros; each with its extra
/// bits.
fn find_runs<'r>(lens: &[u8], runs: &'r mut [(u8, u8)]) -> &'r [(u8, u8)] {
    let mut count = 0;
    let mut push = |run| {
        runs[count] = run;
        count += 1;
    };
    let mut at = 0;
    while let Some(&len) = lens.get(at) {
        let mut run = lens[at..].iter().take_while(|&&other| other == len).count();
        at += run;
        if len > 0 {
            push((len, 0));
            run -= 1;
        }
        while run >= 3 {
            let (symbol, step) = match (len, run) {
                (1.., _) => (16, run.min(6)),
                (0, 3..=10) => (17, run),
                (0, _) => (18, run.min(138)),
            };
            let least = if symbol == 18 { 11 } else { 3 };
            push((symbol, (step - least) as u8));
            run -= step;
        }
        for _ in 0..run {
            push((len, 0));
        }
    }
    &runs[..count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(data: &[u8]) -> usize {
        let mut shortest = usize::MAX;
        for level in [1, 4, 6, 9] {
            let mut packer = SmallPacker::new(level);
            // The second time, all tables were used.
            for _ in 0..2 {
                let mut packed = b"before".to_vec();
                packer.deflate(data, &mut packed);
                let packed = &packed[6..];
                let mut all = vec![0; data.len()];
                let len = libdeflater::Decompressor::new().deflate_decompress(packed, &mut all);
                assert!(len == Ok(data.len()) && all == data);
                let mut read = flate2::bufread::DeflateDecoder::new(packed);
                let mut again = Vec::new();
                std::io::Read::read_to_end(&mut read, &mut again).unwrap();
                assert!(again == data && read.into_inner().is_empty());
                shortest = shortest.min(packed.len());
            }
        }
        shortest
    }

    #[test]
    fn few_bytes_and_long_runs_come_back() {
        for len in [0, 1, 2, 3, 4, 257, 258, 259, 260, 516, 517, 1024, MOST] {
            check(&vec![0; len]);
            let count: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            check(&count);
            let noise: Vec<u8> =
                (0..len as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
            check(&noise);
        }
    }

    #[test]
    fn every_length_and_distance_comes_back() {
        let noise = |at: u32| (at.wrapping_mul(at ^ 0x9e37_79b1) >> 11) as u8;
        for distance in (1..300).chain((300..MOST - 300).step_by(61)) {
            let mut data: Vec<u8> = (0..distance as u32).map(noise).collect();
            for at in 0..(3 + distance * 7 % 256) {
                data.push(data[at]);
            }
            data.truncate(MOST);
            check(&data);
        }
    }

    #[test]
    fn counts_that_make_the_longest_codes_come_back() {
        // Each as often as the two before it together: a code of one bit more for each.
        let (mut counts, mut data) = (vec![1usize, 1], Vec::new());
        while counts.iter().sum::<usize>() < MOST / 2 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        let mut left = counts.clone();
        let mut state = 1u32;
        while left.iter().any(|&count| count > 0) && data.len() < MOST {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let symbol = (state >> 16) as usize % left.len();
            if left[symbol] > 0 {
                left[symbol] -= 1;
                data.push(symbol as u8 * 3);
            }
        }
        check(&data);
        let mut code = Code::<LITERALS>::new();
        for (count, weight) in code.counts.iter_mut().zip(&counts) {
            *count = *weight as u16;
        }
        for limit in [15, 7] {
            code.build(limit, &mut Vec::new());
            let lens = code.lens.iter().filter(|len| **len > 0);
            let filled: f64 = lens.clone().map(|&len| (-f64::from(len)).exp2()).sum();
            assert!(usize::from(*lens.max().unwrap()) <= limit && filled == 1.0);
        }
    }

    #[test]
    fn text_is_packed_well() {
        let text = include_bytes!("small.rs");
        let packed = check(&text[..MOST]);
        let mut other = vec![0; MOST];
        let level = libdeflater::CompressionLvl::new(6).unwrap();
        let usual = libdeflater::Compressor::new(level).deflate_compress(&text[..MOST], &mut other);
        assert!(packed <= usual.unwrap() * 102 / 100, "{packed}");
    }

    proptest! {
        #[test]
        fn anything_comes_back(
            parts in proptest::collection::vec(
                (0..4000usize, 1..600usize, proptest::collection::vec(any::<u8>(), 0..40)),
                0..40,
            )
        ) {
            let mut data: Vec<u8> = Vec::new();
            for (from, len, bytes) in parts {
                data.extend_from_slice(&bytes);
                for at in from..from + len {
                    if let Some(&byte) = data.get(at) {
                        data.push(byte);
                    }
                }
            }
            data.truncate(MOST);
            check(&data);
        }
    }
}
