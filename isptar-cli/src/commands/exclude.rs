//! Patterns of what is left out, as `create` and `diff` take them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use isptar_core::Patterns;

use super::heading;
use crate::failure::Failure;
use crate::input::{is_stdin, shown};

/// What is left out.
#[derive(Debug, clap::Args)]
pub(crate) struct ExcludeArgs {
    /// Leave out what matches: as in gitignore, a pattern with a / in front or within is anchored
    /// at the root of the tree, ! takes back
    #[arg(long, value_name = "GLOB", help_heading = heading::LEFT_OUT)]
    exclude: Vec<String>,
    /// Read patterns from FILE, one a line; - is standard input
    #[arg(long, value_name = "FILE", help_heading = heading::LEFT_OUT)]
    exclude_from: Vec<PathBuf>,
    /// The patterns and files of patterns, in the order of the command line.
    #[arg(skip)]
    sources: Vec<PatternSource>,
}

/// Where patterns come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternSource {
    Pattern(String),
    File(PathBuf),
}

impl ExcludeArgs {
    /// Learns the order in which patterns and files of patterns were given: the last one that
    /// matches decides.
    pub(crate) fn order(&mut self, matches: &ArgMatches) {
        let at = |id| matches.indices_of(id).into_iter().flatten();
        let patterns = self.exclude.iter().cloned().map(PatternSource::Pattern);
        let files = self.exclude_from.iter().cloned().map(PatternSource::File);
        let mut ordered: Vec<_> =
            at("exclude").zip(patterns).chain(at("exclude_from").zip(files)).collect();
        ordered.sort_by_key(|(index, _)| *index);
        self.sources = ordered.into_iter().map(|(_, source)| source).collect();
    }

    /// Returns whether patterns come from standard input.
    pub(crate) fn takes_stdin(&self) -> bool {
        self.exclude_from.iter().any(|path| is_stdin(path))
    }

    /// Compiles the patterns; `read` gives the text of a file of patterns.
    pub(crate) fn patterns(
        &self,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Patterns, Failure> {
        let mut texts = Vec::new();
        for source in &self.sources {
            match source {
                PatternSource::Pattern(pattern) => texts.push(pattern.clone()),
                PatternSource::File(path) => {
                    let text = read(path)
                        .map_err(|source| Failure::PatternFile { name: shown(path), source })?;
                    texts.extend(text.lines().map(str::to_owned));
                }
            }
        }
        Ok(Patterns::new(texts)?)
    }
}

/// Returns the text of a file of patterns.
pub(crate) fn read_patterns(path: &Path) -> io::Result<String> {
    if !is_stdin(path) {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
