//! What a program prints, as something to be read.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Stdio};

use super::child;
use super::{Heed, Program, ProgramError, Values};
use crate::patient::Patient;

/// The standard output of a program, which is started with the first read. Its end is told only
/// when the program ended well.
#[derive(Debug)]
pub(crate) struct Output<'p> {
    program: &'p Program,
    values: Vec<(&'p str, Vec<u8>)>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Running(Child, Patient<ChildStdout>),
    Ended,
}

impl<'p> Output<'p> {
    /// Prepares to run a program.
    pub(super) fn new(program: &'p Program, values: &Values<'p>) -> Self {
        Self { program, values: values.to_vec(), state: State::Waiting }
    }

    fn start(&self) -> io::Result<State> {
        let failed =
            |source| ProgramError::Start { command: self.program.shown(&self.values), source };
        let mut command = self.program.command(&self.values);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        Ok(match child.stdout.take() {
            Some(stdout) => State::Running(child, Patient(stdout)),
            None => State::Ended,
        })
    }
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if matches!(self.state, State::Waiting) {
            self.state = self.start()?;
        }
        let State::Running(child, stdout) = &mut self.state else { return Ok(0) };
        let count = stdout.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let ended = child::wait(child, Heed::Signals)?;
        self.state = State::Ended;
        self.program.judge(ended, &self.values)?;
        Ok(0)
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let State::Running(child, _) = &mut self.state {
            // What it still has to say is of no use.
            let _ended = child::end(child);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    fn output(text: &str) -> io::Result<String> {
        let program = Program::parse(OsStr::new(text)).unwrap();
        let mut read = String::new();
        program.output(&[("name", b"a b".to_vec())]).read_to_string(&mut read)?;
        Ok(read)
    }

    #[test]
    fn the_end_is_told_only_when_the_program_ended_well() {
        assert_eq!(output("printf '%s|' {name} 'c'").unwrap(), "a b|c|");
        assert_eq!(output("true").unwrap(), "");
        let error = output("sh -c 'echo something; exit 3'").unwrap_err();
        assert_eq!(error.to_string(), "sh -c 'echo something; exit 3' ended with status 3");
        assert!(output("/no/such/program").is_err());
    }

    #[test]
    fn a_program_that_is_not_read_to_its_end_is_ended() {
        let program = Program::parse(OsStr::new("sh -c 'echo $$; exec sleep 1000'")).unwrap();
        let mut output = program.output(&[]);
        let mut number = [0; 32];
        let len = output.read(&mut number).unwrap();
        let number = std::str::from_utf8(&number[..len]).unwrap().trim().to_owned();
        let process = std::path::Path::new("/proc").join(number);
        assert!(process.exists());
        drop(output);
        assert!(!process.exists());
    }
}
