//! Full archives whose unchanged members are copied from a base.

use super::copier::Copier;
use crate::archive::Archive;
use crate::create::{Carry, CreateOptions, Extras};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::io::ReadAt;
use crate::writer::Put;

/// Has the bytes of what did not change since `base` copied, from it and its bases, as they are
/// packed: the new archive is a full one. [`Extras::set_base`] must say the same base.
pub fn copy_data<'e, R: ReadAt>(
    extras: &mut Extras<'e>,
    base: &'e Archive<R>,
    options: &CreateOptions,
) {
    extras.set_carry(Box::new(FromBase(Copier::new(base, options.level, false))));
}

/// Copies from a base.
struct FromBase<'a, R>(Copier<'a, R>);

impl<R: ReadAt> Carry for FromBase<'_, R> {
    fn take(&mut self, writer: &mut dyn Put, mut entry: Entry) -> Result<()> {
        if let Some(location) = &mut entry.location {
            // Of the base it is one less.
            location.depth = location.depth.saturating_sub(1);
        }
        self.0.take(writer, entry, &mut ())
    }

    fn flush(&mut self, writer: &mut dyn Put) -> Result<()> {
        self.0.flush(writer, &mut ())
    }
}
