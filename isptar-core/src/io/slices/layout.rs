//! Where each slice begins, also those that are not here.

use super::fault::SliceFault;
use super::tail::Tail;

/// Where a slice stands in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Whether there is a file.
    pub(super) here: bool,
}

/// Returns how many slices an archive has, by its end and the length of its last slice; `None` when
/// it was not written in slices.
pub(super) fn count(tail: &Tail, last: u64) -> Option<u64> {
    let size = tail.info.slice_size.filter(|&size| size > 0)?;
    tail.size.checked_sub(last).map(|before| before.div_ceil(size).saturating_add(1))
}

/// Places slices of which those without a length are not here. What is known of the others is in
/// the end of the archive: all but the last two are equally long, and the last but one is as long
/// as what is left. Of a classic archive nothing is known; its slices are taken for as long as the
/// longest.
pub(super) fn place(
    lengths: &[Option<u64>],
    tail: Option<&Tail>,
) -> Result<Vec<Place>, SliceFault> {
    let count = lengths.len() as u64;
    let last = lengths.last().copied().flatten().unwrap_or_default();
    let longest = lengths.iter().flatten().copied().max().unwrap_or_default();
    let (size, total) = match tail {
        Some(tail) => (tail.info.slice_size.unwrap_or(longest), Some(tail.size)),
        None => (longest, None),
    };
    let left = |total: u64| {
        let others = size.checked_mul(count.saturating_sub(2))?.checked_add(last)?;
        total.checked_sub(others)
    };
    if let Some(found) = tail.and_then(|tail| self::count(tail, last)).filter(|&n| n != count) {
        return Err(SliceFault::Last { count: found });
    }
    let last_but_one = total.and_then(left).unwrap_or(size);
    let mut start = 0u64;
    let place = |(index, len): (usize, &Option<u64>)| {
        let absent = if index as u64 + 2 == count { last_but_one } else { size };
        let place = Place { start, len: len.unwrap_or(absent), here: len.is_some() };
        start = start.saturating_add(place.len);
        place
    };
    Ok(lengths.iter().enumerate().map(place).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::info::ArchiveInfo;

    fn tail(slice_size: Option<u64>, size: u64) -> Tail {
        Tail { info: ArchiveInfo { slice_size, ..ArchiveInfo::default() }, size }
    }

    fn starts(lengths: &[Option<u64>], tail: &Tail) -> Vec<u64> {
        place(lengths, Some(tail)).unwrap().iter().map(|place| place.start).collect()
    }

    #[test]
    fn slices_that_are_not_here_have_their_place() {
        let all = [Some(100), Some(100), Some(90), Some(40)];
        for here in 0..8 {
            let mut lengths = all;
            for (index, len) in lengths[..3].iter_mut().enumerate() {
                *len = len.filter(|_| here & (1 << index) != 0);
            }
            assert_eq!(starts(&lengths, &tail(Some(100), 330)), [0, 100, 200, 290], "{here}");
        }
        assert_eq!(starts(&[None, Some(7)], &tail(Some(10), 17)), [0, 10]);
    }

    #[test]
    fn a_last_slice_of_more_or_fewer_slices_is_told() {
        for (lengths, count) in [(vec![None, Some(40)], 4), (vec![None; 5], 4)] {
            let mut lengths = lengths;
            *lengths.last_mut().unwrap() = Some(40);
            let error = place(&lengths, Some(&tail(Some(100), 330))).unwrap_err();
            assert_eq!(error, SliceFault::Last { count });
        }
    }

    #[test]
    fn lies_do_not_overflow() {
        for size in [0, 1, u64::MAX] {
            for total in [0, 1, u64::MAX] {
                let _any = place(&[None, None, Some(u64::MAX)], Some(&tail(Some(size), total)));
                let _any = place(&[None, Some(0)], Some(&tail(Some(size), total)));
            }
        }
    }
}
