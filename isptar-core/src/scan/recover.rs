//! Going on behind damage.

use std::io::Read;

use super::input::HeaderError;
use super::{Damage, TarReader, in_tar};
use crate::archive::stream_limit;
use crate::error::{Error, FormatError, Result};
use crate::format::assemble::{self, Found, Reached};
use crate::format::padding;
use crate::path::MemberPath;

/// A place in the input and in the tar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) position: u64,
}

/// The member whose content is being read.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) path: MemberPath,
    /// Where its headers begin.
    pub(super) start: Place,
}

impl<R: Read> TarReader<R> {
    pub(super) fn here(&self) -> Place {
        Place { offset: self.input.offset(), position: self.input.position }
    }

    /// Reads the last member to its end, and the stream that ends with it.
    pub(super) fn leave_member(&mut self) -> Result<()> {
        if self.current.is_none() {
            return Ok(());
        }
        match self.finish_data() {
            Ok(()) => {
                self.current = None;
                Ok(())
            }
            Err(error) => Err(self.member_failed(error)),
        }
    }

    /// Skips what is left of the data, and lets the stream end.
    pub(super) fn finish_data(&mut self) -> Result<()> {
        self.input.skip(&mut self.left)?;
        match self.input.skip(&mut self.padding) {
            // All of the member is there; that the tar has no end is told as such.
            Err(Error::CorruptTar { .. }) => {
                self.padding = 0;
                self.input.is_cut = false;
            }
            other => other?,
        }
        // A group of ours is checked before the first of its members is given out as good.
        self.input.settle(self.is_ours.then(|| stream_limit(&self.limits)))
    }

    /// Takes an error of reading the last member, and goes on behind it.
    pub(super) fn member_failed(&mut self, error: Error) -> Error {
        let (path, start) = match self.current.take() {
            Some(Current { path, start }) => (Some(path), start),
            None => (None, self.here()),
        };
        let left = self.left;
        self.damaged(error, path, start, Some(left))
    }

    /// Takes an error of reading headers, finds out whose they are, and goes on behind that member.
    pub(super) fn bad_headers(
        &mut self,
        error: HeaderError,
        mut reached: Reached,
        start: Place,
    ) -> Error {
        let error = match error {
            HeaderError::Input(error) => {
                // Some of the blocks were read.
                reached.rest = None;
                error
            }
            HeaderError::Format(kind) => {
                if matches!(kind, FormatError::Missing(_)) {
                    self.input.put_back_zeros();
                }
                self.input.is_cut |= self.input.peek(1).is_ok_and(<[u8]>::is_empty);
                in_tar(kind, start.position)
            }
        };
        // What speaks of a member is not to be trusted for it, and is not taken for another.
        let mut spent = false;
        while reached.rest.is_some() && !reached.is_whole && !spent && error.is_damage() {
            self.left = reached.rest.take().unwrap_or(0);
            if self.finish_data().is_err() {
                break;
            }
            reached = self.name_member(reached.name);
            spent = reached.rest.is_none();
        }
        let name = reached.name.map(MemberPath::new);
        self.damaged(error, name, start, reached.rest)
    }

    /// Reads the headers of a member that is not to be given out.
    fn name_member(&mut self, known: Option<Vec<u8>>) -> Reached {
        let mut next = Reached::default();
        let read = assemble::read_headers_of(&mut self.input, &[], &self.limits, &mut next);
        if let Ok(Found::Zeros) = read {
            self.input.put_back_zeros();
        }
        if let Ok(Found::Member(found)) = read {
            next.rest = found.stored.checked_add(padding(found.stored));
        }
        next.name = known.or(next.name);
        next
    }

    /// Notes damage of a member, if its name is known, and goes on behind it: by `left` bytes when
    /// that is known to be right.
    pub(super) fn damaged(
        &mut self,
        error: Error,
        path: Option<MemberPath>,
        start: Place,
        left: Option<u64>,
    ) -> Error {
        self.current = None;
        if !error.is_damage() {
            self.ended = true;
            return error;
        }
        let failed = self.input.stream;
        self.left = left.unwrap_or(0);
        if left.is_none() {
            self.padding = 0;
        }
        if let Err(fatal) = self.go_on(left.is_some()) {
            self.ended = true;
            self.pending = Some(fatal);
        }
        let end = self.here();
        self.damage = Some(Damage { path: path.clone(), range: start.position..end.position });
        let range = start.offset..end.offset.max(start.offset);
        match (path, error) {
            (Some(path), Error::CorruptStream { range: stream, kind }) => {
                let others = self.stream.is_some_and(|(at, count)| at == failed && count > 1);
                if others && self.pending.is_none() {
                    let kind = kind.clone();
                    self.pending = Some(Error::CorruptStream { range: stream, kind });
                }
                Error::CorruptMember { path, range, kind }
            }
            (Some(path), Error::CorruptTar { kind, .. }) => {
                Error::CorruptMember { path, range, kind }
            }
            (_, error) => error,
        }
    }

    /// Goes to where the next member may begin: behind the data at hand when its length is known.
    fn go_on(&mut self, is_known: bool) -> Result<()> {
        loop {
            let done = if self.ended {
                Ok(())
            } else if self.input.is_broken {
                (self.left, self.padding) = (0, 0);
                self.input.resync()
            } else if is_known {
                self.finish_data()
            } else {
                self.input.seek_header()
            };
            match done {
                // The end, or a stream that is damaged, too.
                Err(Error::CorruptTar { .. }) => return Ok(()),
                Err(error) if error.is_damage() => {}
                other => return other,
            }
        }
    }
}
