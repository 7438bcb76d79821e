//! Inflating deflated data that is in memory as a whole, by libdeflate.
#![allow(
    unsafe_code,
    reason = "libdeflater does not say how many bytes were taken, which must be known exactly"
)]

use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_deflate_decompress_ex,
    libdeflate_free_decompressor, libdeflate_result_LIBDEFLATE_SUCCESS as SUCCESS,
};

/// A decompressor, the fastest there is. It takes some streams that gzip does not: distances and
/// lengths that have no meaning, and either bit where a code has one symbol only. `None` when there was no memory for one.
#[derive(Debug)]
pub(super) struct Inflater(Option<NonNull<libdeflate_decompressor>>);

// SAFETY: a decompressor is memory of its own that belongs to no thread, and is only used by
// whoever has the `Inflater` alone.
unsafe impl Send for Inflater {}

impl Inflater {
    /// Bytes of room beyond the end that let it run fast up to there.
    const ROOM: usize = 512;

    pub(super) fn new() -> Self {
        // SAFETY: it has no conditions.
        Self(NonNull::new(unsafe { libdeflate_alloc_decompressor() }))
    }

    /// Appends `len` bytes to `out` that the first `packed` ones of `bytes` are inflated to;
    /// `None` when they are not, or not all of them are needed, and `out` is as it was then.
    pub(super) fn inflate(
        &mut self,
        bytes: &[u8],
        packed: usize,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Self(Some(decompressor)) = self else { return None };
        out.reserve(len.saturating_add(Self::ROOM));
        // What is beyond is looked at in whole words, which is faster than byte by byte.
        let bytes = bytes.get(..packed.saturating_add(Self::ROOM)).unwrap_or(bytes);
        let room = out.spare_capacity_mut();
        let end = room.len().min(len.saturating_add(Self::ROOM));
        let room = room.get_mut(..end)?;
        let (mut taken, mut given) = (0, 0);
        // SAFETY: the decompressor was allocated and is not freed, `bytes` can be read and `room`
        // be written for the lengths given, and they do not overlap: `out` is borrowed mutably.
        let result = unsafe {
            libdeflate_deflate_decompress_ex(
                decompressor.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len(),
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut taken,
                &raw mut given,
            )
        };
        if result != SUCCESS || (taken, given) != (packed, len) || given > room.len() {
            return None;
        }
        let end = out.len() + given;
        // SAFETY: `given` bytes of the spare capacity, which is at least so large, were written.
        unsafe { out.set_len(end) };
        Some(())
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        if let Some(decompressor) = self.0 {
            // SAFETY: it was allocated by libdeflate, and nobody has it after this.
            unsafe { libdeflate_free_decompressor(decompressor.as_ptr()) };
        }
    }
}
