//! A program that is spoken with.

use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::child::{self, Heed};
use super::{Program, ProgramError};

/// A program that runs while its pipes are used.
#[derive(Debug)]
pub(crate) struct Connection<'p> {
    program: &'p Program,
    child: Child,
}

impl Program {
    /// Starts it; what it prints is the first pipe, and what it reads the second. Its messages go where
    /// those of this program go.
    pub(crate) fn connect(
        &self,
    ) -> Result<(Connection<'_>, ChildStdout, ChildStdin), ProgramError> {
        let failed = |source| ProgramError::Start { command: self.shown(&[]), source };
        let mut command = self.command(&[]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let pipes = child.stdout.take().zip(child.stdin.take());
        let (output, input) = pipes.ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok((Connection { program: self, child }, output, input))
    }
}

impl Connection<'_> {
    /// Waits for the end of the program, whose input must be closed by now.
    pub(crate) fn end(mut self) -> Result<(), ProgramError> {
        let failed = |source| ProgramError::Start { command: self.program.shown(&[]), source };
        let status = child::wait(&mut self.child, Heed::Signals).map_err(failed)?;
        self.program.judge(status, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::io::{Read, Write};

    #[test]
    fn what_is_said_is_answered_and_the_status_decides() {
        let program = Program::parse(OsStr::new("sh -c 'tr a-z A-Z; exit 3'")).unwrap();
        let (connection, mut output, mut input) = program.connect().unwrap();
        input.write_all(b"words").unwrap();
        drop(input);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "WORDS");
        assert!(matches!(connection.end(), Err(ProgramError::Status { status: 3, .. })));
    }
}
