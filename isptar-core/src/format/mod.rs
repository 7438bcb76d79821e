//! The format: bytes to values and back, without files, readers or clocks.
//!
//! Everything here works on slices that are in memory and is specified in FORMAT.md.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod acl;
pub mod assemble;
pub mod entry;
pub mod gzip;
pub mod header;
pub mod info;
pub mod member;
pub mod pax;
pub mod sparse;
pub mod tables;
pub mod text;
pub mod timestamp;
pub mod trailer;

/// Bytes of a block, the unit of tar.
pub const BLOCK: usize = 512;

/// Packed bytes of the header of `.backup.info`: one stored block.
pub const HEADER_STREAM: u64 = 535;

/// Name of the member that holds the listing.
pub const INFO_NAME: &[u8] = b".backup.info";

/// Returns how many zero bytes follow `len` bytes of data to fill its last block.
pub fn padding(len: u64) -> u64 {
    // The remainder of a division by 512 is below 512.
    #[expect(clippy::arithmetic_side_effects, reason = "x % 512 < 512")]
    let padding = (512 - len % 512) % 512;
    padding
}

/// Returns the size of a chunk of a file with `len` bytes of data: files up to this size are one
/// stream, larger ones a run of streams.
///
/// 1 MiB up to 16 GiB, 2 MiB up to 32 GiB, 4 MiB above; doubled again from 1 TiB so that a file
/// has at most 262,144 chunks and its line stays below its limit, up to 64 MiB.
pub fn chunk_size(len: u64) -> u64 {
    match len {
        0..=0x4_0000_0000 => 1 << 20,
        0x4_0000_0001..=0x8_0000_0000 => 2 << 20,
        _ => (4u64 << 20).max(len.div_ceil(1 << 18).next_power_of_two()).min(64 << 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_the_file() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (len, size) in [
            (0, MIB),
            (16 * GIB, MIB),
            (16 * GIB + 1, 2 * MIB),
            (32 * GIB, 2 * MIB),
            (32 * GIB + 1, 4 * MIB),
            (1024 * GIB, 4 * MIB),
            (1024 * GIB + 1, 8 * MIB),
            (u64::MAX / 2, 64 * MIB),
        ] {
            assert_eq!(chunk_size(len), size, "{len}");
        }
    }

    #[test]
    fn padding_fills_the_last_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
