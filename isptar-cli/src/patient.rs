//! Reading from pipes in a way that ends when a signal comes.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::signals;

/// Seconds and nanoseconds that a signal may go unnoticed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A pipe that may give nothing for long. A read fails soon after a signal came that stops this
/// program, where a plain one would go on waiting.
#[derive(Debug)]
pub(crate) struct Patient<R>(pub(crate) R);

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            signals::check()?;
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                // What is wrong with it, the read tells.
                Ok(_) | Err(_) => return self.0.read(buffer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pipes_and_files_are_read_to_their_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let mut text = String::new();
        Patient(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(Patient(file.unwrap()).read_to_string(&mut text).unwrap() > 100);
    }
}
