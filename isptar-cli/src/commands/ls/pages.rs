//! Listing block by block on all cores: each block becomes a page of the output.

use isptar_core::archive::BlockEntries;
use isptar_core::{Damage, Error, MemberPath, ReadAt};

use super::Printer;
use super::style::Style;
use crate::commands::select::{Found, Wanted};
use crate::failure::Failure;
use crate::input::Listed;

/// What is printed of one block.
struct Page {
    text: Vec<u8>,
    count: u64,
    found: Found,
    /// Lines that could not be read.
    damage: Vec<Error>,
}

/// Which entries are printed, and how.
struct Pages<'a> {
    wanted: &'a Wanted,
    depth: Option<usize>,
    style: Style,
}

impl Pages<'_> {
    fn page<R: ReadAt>(&self, entries: &mut BlockEntries<'_, R>) -> Page {
        let found = self.wanted.nothing_found();
        let mut page = Page { text: Vec::new(), count: 0, found, damage: Vec::new() };
        for entry in entries {
            match entry {
                Ok(entry) => {
                    if self.wanted.takes(&entry, &mut page.found)
                        && self.wanted.is_above(&entry.path, self.depth)
                    {
                        page.count += 1;
                        self.style.push(&entry, &mut page.text);
                    }
                }
                Err(error) => page.damage.push(error),
            }
        }
        page
    }
}

/// Prints what is meant of a sorted archive, in a form that is plain.
pub(super) fn print(
    archive: &Listed,
    wanted: &mut Wanted,
    depth: Option<usize>,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let mut found = wanted.nothing_found();
    let pages = Pages { wanted, depth, style: printer.style.clone() };
    let mut print = |within: Option<&MemberPath>| {
        let each = |page: Page| {
            found.add(&page.found);
            printer.count += page.count;
            page.damage.iter().for_each(|error| printer.damaged(&Damage::default(), error));
            printer.out.put(&page.text)
        };
        archive.map_blocks(within, None, |entries| pages.page(entries), each)
    };
    let printed = match wanted.subtrees(archive) {
        Some(subtrees) => subtrees.iter().try_for_each(|path| print(Some(path))),
        None => print(None),
    };
    wanted.add_found(&found);
    printed
}
