//! The bodies of the fuzz targets: each takes any bytes, and panics when a promise is broken.

mod agree;
mod archives;
mod craft;
mod formats;
mod input;
mod jobs;
mod members;
mod remote;
mod roundtrip;
mod sandbox;
mod streams;

pub use agree::{listed_and_sequential, lying_listing};
pub use archives::{archive_open, tar_reader};
pub use formats::{info_parse, listing_line, safe_path, tables_parse, tar_headers, trailer_parse};
pub use jobs::{diff_listings, repair_archive, rewrite_archives, verify_archive};
pub use remote::remote_streams;
pub use roundtrip::write_then_read;
pub use sandbox::extract_sandbox;
pub use streams::gzip_streams;

/// A body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 18] = [
    ("trailer_parse", trailer_parse),
    ("info_parse", info_parse),
    ("listing_line", listing_line),
    ("tables_parse", tables_parse),
    ("tar_headers", tar_headers),
    ("safe_path", safe_path),
    ("archive_open", archive_open),
    ("tar_reader", tar_reader),
    ("gzip_streams", gzip_streams),
    ("listed_and_sequential", listed_and_sequential),
    ("lying_listing", lying_listing),
    ("extract_sandbox", extract_sandbox),
    ("verify_archive", verify_archive),
    ("repair_archive", repair_archive),
    ("diff_listings", diff_listings),
    ("rewrite_archives", rewrite_archives),
    ("remote_streams", remote_streams),
    ("write_then_read", write_then_read),
];
