//! The observer of the jobs: names, warnings, JSON and the progress bar.

use std::io::{self, Write};
use std::ops::Range;

use isptar_core::{Entry, Error, Event, LeftOut, MemberPath, Observer, Warning, Why};

use crate::exit::Exit;
use crate::failure::{self, Failure};
use crate::json;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::ui::{Out, Ui};

/// Where results go, one line for each member.
pub(crate) enum Stream {
    /// Standard output.
    Out(Out),
    /// Standard error: standard output is the archive.
    Err(io::Stderr),
}

impl Stream {
    fn name(&self, name: &MemberPath) -> Vec<u8> {
        match self {
            Self::Out(out) => out.name(name.as_bytes()),
            Self::Err(_) => name.to_string().into_bytes(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Out(out) => out.write(bytes),
            Self::Err(err) => err.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Out(out) => out.flush(),
            Self::Err(err) => err.flush(),
        }
    }
}

/// What is told of a job while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Telling {
    /// The name of every member.
    pub(crate) names: bool,
    /// Everything that was left out, not only what may surprise.
    pub(crate) left_out: bool,
    /// JSON objects instead of lines.
    pub(crate) json: bool,
    /// Each member has a result, which its JSON object says: it is whole, damaged or missing.
    pub(crate) results: bool,
}

/// Tells what a job does.
pub(crate) struct Reporter<'a> {
    ui: &'a Ui,
    signals: &'a Signals,
    telling: Telling,
    stream: Stream,
    progress: Option<Progress>,
    worst: Exit,
    /// Nothing is done in truth.
    pretends: bool,
    /// The member that is stored next, and why it is on a base.
    why: Option<(MemberPath, Why)>,
    /// What the stream answered when it took no more; the job goes on without it.
    broken: Option<io::Error>,
}

impl<'a> Reporter<'a> {
    /// Begins to tell; names and JSON go to `stream`.
    pub(crate) fn new(ui: &'a Ui, signals: &'a Signals, telling: Telling, stream: Stream) -> Self {
        let bar = ui.has_terminal() && !telling.names && !telling.json;
        let progress = bar.then(Progress::new);
        let (worst, pretends, why, broken) = (Exit::Good, false, None, None);
        Self { ui, signals, telling, stream, progress, worst, pretends, why, broken }
    }

    /// Says whether the job only tells what it would do.
    pub(crate) fn pretend(&mut self, pretends: bool) {
        self.pretends = pretends;
    }

    /// Writes a line of results.
    pub(crate) fn write(&mut self, line: &[u8]) {
        if self.broken.is_none() {
            self.broken = self.stream.write_all(line).err();
        }
    }

    fn aside(&self, print: impl FnOnce(&Ui)) {
        match &self.progress {
            Some(progress) => progress.aside(|| print(self.ui)),
            None => print(self.ui),
        }
    }

    fn done(&mut self, entry: &Entry) {
        if let Some(progress) = &mut self.progress {
            progress.member();
        }
        if self.telling.json {
            let mut object = json::member(entry);
            if let Some((_, why)) = self.why.take().filter(|(path, _)| *path == entry.path) {
                object.insert("why".into(), why.word().into());
            }
            if self.telling.results {
                object.insert("result".into(), "whole".into());
            }
            self.write(&json::line(object));
        } else if self.telling.names {
            let mut line = self.stream.name(&entry.path);
            line.push(b'\n');
            self.write(&line);
        }
    }

    fn deleted(&mut self, path: &MemberPath) {
        if self.telling.json {
            let mut object = json::object("deleted");
            json::put_bytes(&mut object, "path", path.as_bytes());
            self.write(&json::line(object));
        } else if self.telling.names {
            self.aside(|ui| ui.note(&format!("deleted since the base was made: {path}")));
        }
    }

    fn left_out(&mut self, path: &MemberPath, reason: LeftOut) {
        if self.telling.json {
            self.write(&json::line(json::left_out(path, reason)));
        } else if reason == LeftOut::Socket {
            self.aside(|ui| ui.warning(&format!("{path}: left out, it is a socket")));
        } else if self.telling.left_out || is_surprising(reason) {
            self.aside(|ui| ui.note(&format!("left out {path}: {reason}")));
        }
    }

    fn replaced(&mut self, path: &MemberPath) {
        if self.telling.json {
            let mut object = json::object("replaced");
            json::put_bytes(&mut object, "path", path.as_bytes());
            self.write(&json::line(object));
        } else if self.telling.names {
            self.aside(|ui| ui.note(&format!("replaced {path}")));
        }
    }

    fn removed(&mut self, path: &MemberPath) {
        if self.telling.json {
            let mut object = json::object("removed");
            json::put_bytes(&mut object, "path", path.as_bytes());
            self.write(&json::line(object));
        } else if self.telling.names {
            let verb = if self.pretends { "would remove" } else { "removed" };
            self.aside(|ui| ui.note(&format!("{verb} {path}")));
        }
    }

    fn failed(&mut self, path: &MemberPath, error: &Error) {
        self.worst = self.worst.max(Exit::of_member(error));
        if self.telling.json {
            let kind = if self.telling.results { "member" } else { "error" };
            let mut object = json::message(kind, Some(path), &failure::chain(error));
            if self.telling.results {
                put_result(&mut object, error);
            }
            if let Some(hint) = failure::hint(error) {
                object.insert("hint".into(), hint.into_owned().into());
            }
            self.write(&json::line(object));
        } else {
            self.aside(|ui| ui.member_error(path, error));
        }
    }

    fn damaged(&mut self, range: &Range<u64>, error: &Error) {
        self.worst = self.worst.max(Exit::of_member(error));
        if self.telling.json {
            let mut object = json::message("error", None, &failure::chain(error));
            object.insert("start".into(), range.start.into());
            object.insert("end".into(), range.end.into());
            self.write(&json::line(object));
        } else {
            self.aside(|ui| ui.damage(range, error));
        }
    }

    fn warning(&mut self, path: &MemberPath, warning: &Warning) {
        if self.telling.json {
            let object = json::message("warning", Some(path), &warning.to_string());
            self.write(&json::line(object));
        } else {
            self.aside(|ui| ui.warning(&format!("{path}: {warning}")));
        }
    }

    /// Tells what is wrong with the whole archive.
    pub(crate) fn trouble(&mut self, text: &str, hint: Option<&str>) {
        if self.telling.json {
            let mut object = json::message("error", None, text);
            if let Some(hint) = hint {
                object.insert("hint".into(), hint.into());
            }
            self.write(&json::line(object));
        } else {
            self.aside(|ui| ui.error(text, hint));
        }
    }

    /// Returns a name as results show it.
    pub(crate) fn name(&self, name: &MemberPath) -> Vec<u8> {
        self.stream.name(name)
    }

    /// Tells something good to know.
    pub(crate) fn note(&self, text: &str) {
        self.aside(|ui| ui.note(text));
    }

    /// Returns whether results cannot be written any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Writes out the results so far; returns whether nobody reads them any more.
    pub(crate) fn reader_left(&mut self) -> bool {
        if self.broken.is_none() {
            self.broken = self.stream.flush().err();
        }
        self.broken.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Ends the job: tells the summary, and returns the status, at least `exit`.
    pub(crate) fn finish(mut self, text: &str, summary: json::Object, exit: Exit) -> Exit {
        let mut exit = exit.max(self.worst);
        if let Some(number) = self.signals.received().filter(|_| exit >= Exit::Incomplete) {
            // Reads fail once a signal has come.
            exit = Exit::Signal(number);
        }
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        if self.telling.json {
            let mut summary = summary;
            summary.insert("status".into(), exit.code().into());
            self.write(&json::line(summary));
        } else {
            self.ui.note(text);
        }
        match self.close() {
            Ok(()) => exit,
            Err(failure) => {
                self.ui.failure(&failure);
                exit.max(Exit::Incomplete)
            }
        }
    }

    /// Ends a job that failed; returns the status.
    pub(crate) fn fail(mut self, failure: &Failure) -> Exit {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        let exit = match (failure, self.signals.received()) {
            // The signal may have ended the program that feeds this one as well.
            (_, Some(number)) if failure.exit() != Exit::Destination => Exit::Signal(number),
            _ => failure.exit(),
        };
        if self.telling.json {
            let mut object = json::message("error", None, &failure::chain(failure));
            object.insert("status".into(), exit.code().into());
            if let Some(hint) = failure.hint() {
                object.insert("hint".into(), hint.into_owned().into());
            }
            self.write(&json::line(object));
        }
        // The names told so far come before the error. What the stream answers matters no more.
        drop(self.close());
        if !self.telling.json {
            self.ui.failure(failure);
        }
        exit
    }

    fn close(&mut self) -> Result<(), Failure> {
        let flushed = match self.broken.take() {
            Some(error) => Err(error),
            None => self.stream.flush(),
        };
        match flushed {
            // Nobody reads the names any more; the job itself is done.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(Failure::Stdout),
        }
    }
}

/// Puts the result of a member that is not whole, and which bytes it has.
fn put_result(object: &mut json::Object, error: &Error) {
    let result = if matches!(error, Error::NotFound(_)) { "missing" } else { "damaged" };
    object.insert("result".into(), result.into());
    if let Error::InBase { base, .. } = error {
        object.insert("base".into(), base.as_str().into());
    }
    if let Error::CorruptMember { range, .. } = error.unplaced() {
        object.insert("start".into(), range.start.into());
        object.insert("end".into(), range.end.into());
    }
}

/// Returns whether leaving something out is worth a line though nobody asked for lines.
fn is_surprising(reason: LeftOut) -> bool {
    matches!(reason, LeftOut::OtherFileSystem | LeftOut::Archive | LeftOut::RestoredListing)
}

impl Observer for Reporter<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Planned { bytes, .. } => {
                if let Some(progress) = &mut self.progress {
                    progress.plan(bytes);
                }
            }
            Event::Progress { bytes } => {
                if let Some(progress) = &mut self.progress {
                    progress.bytes(bytes);
                }
            }
            Event::Done { entry } => self.done(entry),
            Event::Why { path, why } if self.telling.json => self.why = Some((path.clone(), why)),
            Event::Deleted { path } => self.deleted(path),
            Event::LeftOut { path, reason } => self.left_out(path, reason),
            Event::Replaced { path } => self.replaced(path),
            Event::Removed { path } => self.removed(path),
            Event::Failed { path, error } => self.failed(path, error),
            Event::Damaged { range, error } => self.damaged(&range, error),
            Event::Warning { path, warning } => self.warning(path, warning),
            _ => {}
        }
    }

    fn cancelled(&self) -> bool {
        self.signals.received().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ColorChoice;
    use isptar_core::BaseProblem;

    #[test]
    fn failed_members_decide_the_status() {
        let (ui, signals) = (Ui::new(true, ColorChoice::Never), Signals::default());
        let stream = Stream::Err(io::stderr());
        let mut reporter = Reporter::new(&ui, &signals, Telling::default(), stream);
        let (name, identity) = ("full.tar.gz".into(), "x".into());
        let error = Error::NoBase { name, identity, problem: BaseProblem::NotGiven };
        reporter.event(Event::Failed { path: &"a".into(), error: &error });
        let error = Error::NotFound("b".into());
        reporter.event(Event::Failed { path: &"b".into(), error: &error });
        assert!(!reporter.cancelled());
        let exit = reporter.finish("done", json::object("summary"), Exit::Warnings);
        assert_eq!(exit, Exit::Base);
    }

    #[test]
    fn exclusions_are_expected_and_mounts_are_not() {
        assert!(!is_surprising(LeftOut::Excluded));
        assert!(!is_surprising(LeftOut::CacheDirectory));
        assert!(is_surprising(LeftOut::OtherFileSystem));
    }
}
