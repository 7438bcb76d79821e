//! The two pipes between `send` and `receive`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::signals;
use crate::ui::stdout_file;

/// How long a signal may go unnoticed.
const LOOK: Duration = Duration::from_millis(100);

/// Reads from a pipe or socket, and fails as soon as a signal comes that stops this program: the
/// other side may never send anything.
#[derive(Debug)]
pub(crate) struct Watched<R>(R);

impl<R: Read + AsFd> Watched<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self(reader)
    }
}

impl<R: Read + AsFd> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let time = Timespec::try_from(LOOK).ok();
        loop {
            signals::check()?;
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], time.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                // Whatever else it is, reading tells.
                Ok(_) | Err(_) => return self.0.read(buf),
            }
        }
    }
}

/// Returns standard input and output, past all buffers.
pub(crate) fn standard() -> Result<(Watched<File>, File), Failure> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    let input = input.map_err(|source| Failure::Open { name: "standard input".into(), source })?;
    let output = stdout_file().map_err(Failure::Stdout)?;
    Ok((Watched::new(File::from(input)), output))
}

/// Returns what tells this machine, as it runs now, from all others.
pub(crate) fn machine() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"text").unwrap();
        drop(writer);
        let mut text = String::new();
        Watched::new(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
    }
}
