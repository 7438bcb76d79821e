//! Opening what the user names: an archive with a listing, or any tar, read from front to back.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use isptar_core::io::archive_of_slice;
use isptar_core::path::printable;
use isptar_core::verify::Wreck;
use isptar_core::{Archive, Error, RangeReader, ReadAt, Remark, SliceSet, TarReader};

use crate::bases::Finder;
use crate::commands::open::OpenArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals;
use crate::ui::Ui;

/// A tar that is read from front to back.
pub(crate) type Foreign = TarReader<Box<dyn Read + Send>>;

/// An archive that is read by its listing.
pub(crate) type Listed = Archive<Source<SliceSet>>;

/// Bytes that are read at once from files of other programs.
const BUFFER: usize = 256 << 10;

/// An input whose reads fail once a signal has come.
#[derive(Debug)]
pub(crate) struct Source<T>(T);

impl<T: Read> Read for Source<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        signals::check()?;
        self.0.read(buf)
    }
}

impl<T: ReadAt> ReadAt for Source<T> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        signals::check()?;
        self.0.read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn slices(&self) -> Option<&SliceSet> {
        self.0.slices()
    }
}

impl Source<SliceSet> {
    /// Returns the files that it is read from.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        (1..=self.0.count()).map(|number| self.0.path_of(number)).collect()
    }
}

impl Source<File> {
    /// Returns what the system knows of the file.
    fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }
}

/// What an input turned out to be.
pub(crate) enum Input {
    /// An archive with a listing: ours, or a classic one.
    Listed(Box<Listed>),
    /// A tar without one.
    Foreign(Box<Foreign>, Packing),
}

impl Input {
    /// Returns whether names may stand twice and should not.
    pub(crate) fn may_repeat(&self) -> bool {
        !matches!(self, Self::Listed(archive) if archive.info().sorted || archive.info().parts)
    }

    /// Warns of a tar that was read and has no end, or is odd in other ways.
    pub(crate) fn check_end(&self, path: &Path, ui: &Ui) -> Exit {
        match self {
            Self::Listed(_) => Exit::Good,
            Self::Foreign(tar, _) => check_end(tar, path, ui),
        }
    }
}

/// Warns of a tar that was read and has no end, or is odd in other ways.
pub(crate) fn check_end(tar: &Foreign, path: &Path, ui: &Ui) -> Exit {
    let mut exit = Exit::Good;
    for remark in tar.remarks() {
        ui.warning(&format!("{}: {remark}", shown(path)));
        exit = exit.max(match remark {
            Remark::InBases { .. } => Exit::Base,
            _ => Exit::Warnings,
        });
    }
    if tar.members() == 0 && tar.damage().is_some() {
        // Nothing says that it is an archive.
        return Exit::NotAnArchive;
    }
    if tar.members() == 0 && !tar.is_ours() {
        // So begins a file that was made and never written.
        ui.warning(&format!("{}: holds no member, nothing but zeros", shown(path)));
        exit = Exit::Warnings;
    }
    let is_cut_ours = tar.is_ours() && tar.is_cut();
    if !tar.end_missing() && !is_cut_ours {
        return exit;
    }
    // An end within something was told with the name of that.
    if tar.is_ours() {
        if !tar.is_cut() {
            ui.error(&format!("{}: ends before its listing, it was cut", shown(path)), None);
        }
        return Exit::NotAnArchive;
    }
    if !tar.is_cut() {
        let name = shown(path);
        ui.warning(&format!("{name}: ends without the blocks that end a tar, was it cut?"));
    }
    exit.max(Exit::Warnings)
}

/// How a tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// By gzip, in any number of streams.
    Gzip,
    /// By zstd.
    Zstd,
    /// By xz.
    Xz,
    /// By bzip2.
    Bzip2,
}

impl Packing {
    /// Recognises the compression by the first bytes of a file.
    fn detect(head: &[u8]) -> Self {
        // A tar may begin with a file named BZh9: the mark of the first block, or of the end of
        // an empty stream, tells.
        let bzip2 = |head: &[u8]| {
            head.starts_with(b"BZh")
                && matches!(head.get(3), Some(b'1'..=b'9'))
                && matches!(
                    head.get(4..10),
                    Some(b"\x31\x41\x59\x26\x53\x59" | b"\x17\x72\x45\x38\x50\x90")
                )
        };
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            head if bzip2(head) => Self::Bzip2,
            _ => Self::Plain,
        }
    }

    /// Returns what it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "tar, gzip",
            Self::Zstd => "tar, zstd",
            Self::Xz => "tar, xz",
            Self::Bzip2 => "tar, bzip2",
        }
    }
}

/// Returns what an input is called in messages.
pub(crate) fn shown(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".into()
    } else {
        printable(path.as_os_str().as_encoded_bytes())
    }
}

/// Returns whether the path means standard input or output.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens an archive by its listing or, when it has none, as a tar, which is told once.
pub(crate) fn open(path: &Path, args: &OpenArgs, ui: &Ui) -> Result<Input, Failure> {
    if let Some(slices) = open_slices(path, args)? {
        if let Some(other) = slices.0.ignored() {
            let (name, other) = (shown(path), other.display());
            ui.warning(&format!("{name} is read; {other} is there as well, of another archive"));
        }
        match list(slices, path, args) {
            Ok(archive) => return Ok(Input::Listed(Box::new(archive))),
            Err(error) => {
                check_last_slice(path, args, &error)?;
                if !matches!(error, Error::NotIsptar(_)) {
                    return Err(Failure::from(error).named(path));
                }
            }
        }
    }
    let (tar, packing) = open_foreign(path, args)?;
    ui.note(&format!("{} {}, reading it from front to back", shown(path), unlisted(path, args)));
    Ok(Input::Foreign(Box::new(tar), packing))
}

/// Opens an archive that must have a listing.
pub(crate) fn open_listed(path: &Path, args: &OpenArgs) -> Result<Listed, Failure> {
    let Some(slices) = open_slices(path, args)? else {
        let source = io::Error::other("it is no file, and this reads here and there");
        return Err(failed(path)(source));
    };
    list(slices, path, args).map_err(|error| Failure::from(error).named(path))
}

/// Opens an archive by its listing. Its bases are looked for when members need them.
pub(crate) fn list(
    slices: Source<SliceSet>,
    path: &Path,
    args: &OpenArgs,
) -> Result<Listed, Error> {
    let mut archive = Archive::open_with(slices, args.limits())?;
    if archive.is_classic() {
        // It says nothing of its bases.
        let bases: Result<_, _> =
            args.bases().iter().map(|base| classic_base(base, args)).collect();
        archive.attach_bases(bases?)?;
    }
    let finder = Finder::new(path, args);
    archive.find_bases(Box::new(move |base| finder.find(base)));
    Ok(archive)
}

/// Opens what the user says is the next base of a classic archive.
fn classic_base(path: &Path, args: &OpenArgs) -> Result<Listed, Error> {
    let bad = |error| Error::BadBase { name: shown(path), error: Box::new(error) };
    let slices =
        SliceSet::open_with(path, &args.of_base().slices()).map_err(bad)?.ok_or_else(|| {
            let source = io::Error::other("it is no file");
            bad(Error::Io { op: "open", path: path.to_owned(), source })
        })?;
    let archive = Archive::open_with(Source(slices), args.limits()).map_err(bad)?;
    match archive.is_listing() {
        true => Err(bad(Error::ListingAlone)),
        false => Ok(archive),
    }
}

/// Finds out whether slices at the end are missing, when an archive was found not to be one.
pub(crate) fn check_last_slice(path: &Path, args: &OpenArgs, error: &Error) -> Result<(), Failure> {
    if !matches!(error, Error::NotIsptar(_)) {
        return Ok(());
    }
    let Some(slices) = open_slices(path, args)? else { return Ok(()) };
    if slices.0.is_whole() {
        return match archive_of_slice(path) {
            Some(archive) => Err(Failure::OneSlice { name: shown(path), archive: shown(&archive) }),
            None => Ok(()),
        };
    }
    if let Some(missing) = slices.0.missing().into_iter().next() {
        return Err(Error::Slice(missing).into());
    }
    match Wreck::examine(&slices, args.limits()) {
        Ok(wreck) if wreck.is_cut() => Err(Error::Slice(slices.0.next_missing()).into()),
        _ => Ok(()),
    }
}

/// Says why an input is not read by its listing.
pub(crate) fn unlisted(path: &Path, args: &OpenArgs) -> String {
    if is_stdin(path) {
        return "cannot be read by its listing".into();
    }
    // What goes wrong here is told by those who read the input.
    let slices = open_slices(path, args).ok().flatten();
    let wreck = slices.and_then(|slices| Wreck::examine(&slices, args.limits()).ok());
    let known = wreck.filter(|wreck| wreck.begins_as_ours || wreck.behind.is_some());
    match known.and_then(|wreck| wreck.diagnosis()) {
        Some(why) => format!("is not read by its listing ({why})"),
        None => "has no listing".into(),
    }
}

/// Opens a regular file, or slices, which can be read at any offset; `None` for pipes and the like.
pub(crate) fn open_slices(
    path: &Path,
    args: &OpenArgs,
) -> Result<Option<Source<SliceSet>>, Failure> {
    if is_stdin(path) {
        return Ok(None);
    }
    match SliceSet::open_with(path, &args.slices()) {
        Ok(slices) => Ok(slices.map(Source)),
        Err(Error::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound && args.wants_count() =>
        {
            let text = "no slice is here: --slices N must say how many there are to be fetched";
            Err(Failure::Usage(text))
        }
        Err(Error::Io { source, path: of, .. }) if of == path => Err(failed(path)(source)),
        // It may be about the commit file, or a slice.
        Err(error) => Err(error.into()),
    }
}

/// Opens a tar of any of the compressions known.
pub(crate) fn open_foreign(path: &Path, args: &OpenArgs) -> Result<(Foreign, Packing), Failure> {
    let limits = args.limits();
    let source = if is_stdin(path) { Box::new(Source(io::stdin())) } else { front(path, args)? };
    let (reader, packing) = match decoded(source) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return Err(Failure::Empty { name: shown(path) }),
        Err(error) => return Err(failed(path)(error)),
    };
    let tar = TarReader::new(reader, limits).map_err(|error| Failure::from(error).named(path))?;
    Ok((tar, packing))
}

/// Opens a file, or slices, to read them from front to back.
fn front(path: &Path, args: &OpenArgs) -> Result<Box<dyn Read + Send>, Failure> {
    match open_slices(path, args)? {
        Some(slices) if slices.0.count() > 1 => {
            let end = slices.size().map_err(failed(path))?;
            Ok(Box::new(RangeReader::new(slices, 0, end, BUFFER)))
        }
        _ => Ok(Box::new(open_file(path)?)),
    }
}

/// Opens a file to read it.
fn open_file(path: &Path) -> Result<Source<File>, Failure> {
    let file = Source(File::open(path).map_err(failed(path))?);
    if file.metadata().map_err(failed(path))?.is_dir() {
        return Err(failed(path)(io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let name = shown(path);
    move |source| Failure::Open { name, source }
}

/// Returns the decompressed bytes of `source`, if it has any; gzip is left to the reader of the
/// tar.
fn decoded(
    mut source: Box<dyn Read + Send>,
) -> io::Result<Option<(Box<dyn Read + Send>, Packing)>> {
    let mut head = Vec::new();
    source.by_ref().take(10).read_to_end(&mut head)?;
    if head.is_empty() {
        return Ok(None);
    }
    let packing = Packing::detect(&head);
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(source));
    let reader: Box<dyn Read + Send> = match packing {
        Packing::Plain | Packing::Gzip => Box::new(whole),
        #[cfg(feature = "convert-formats")]
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        #[cfg(feature = "convert-formats")]
        Packing::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(whole)),
        #[cfg(feature = "convert-formats")]
        Packing::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        #[cfg(not(feature = "convert-formats"))]
        Packing::Zstd | Packing::Xz | Packing::Bzip2 => {
            let text = format!("{}: this isptar was built without it", packing.name());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    };
    Ok(Some((reader, packing)))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "convert-formats")]
    use std::io::Write;

    #[cfg(feature = "convert-formats")]
    fn round_trip(packed: Vec<u8>) -> (Vec<u8>, Packing) {
        let (mut reader, packing) = decoded(Box::new(Cursor::new(packed))).unwrap().unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        (bytes, packing)
    }

    #[test]
    #[cfg(feature = "convert-formats")]
    fn compressions_are_known_by_their_first_bytes() {
        let text = b"some text, several times; ".repeat(1000);
        assert_eq!(round_trip(text.clone()), (text.clone(), Packing::Plain));
        let packed = zstd::encode_all(&text[..], 3).unwrap();
        assert_eq!(round_trip(packed), (text.clone(), Packing::Zstd));
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&text).unwrap();
        assert_eq!(round_trip(encoder.finish().unwrap()), (text.clone(), Packing::Xz));
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&text).unwrap();
        assert_eq!(round_trip(encoder.finish().unwrap()), (text, Packing::Bzip2));
    }

    #[test]
    fn nothing_is_no_tar() {
        assert!(decoded(Box::new(io::empty())).unwrap().is_none());
    }

    #[test]
    #[cfg(feature = "convert-formats")]
    fn several_streams_are_one_file() {
        let both = |pack: &dyn Fn(&[u8]) -> Vec<u8>| [pack(b"one, "), pack(b"two")].concat();
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let xz = |text: &[u8]| {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let bzip2 = |text: &[u8]| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        for packed in [both(&zstd), both(&xz), both(&bzip2)] {
            assert_eq!(round_trip(packed).0, b"one, two");
        }
    }

    #[test]
    fn a_tar_may_begin_with_the_letters_of_bzip2() {
        assert_eq!(Packing::detect(b"BZh9-notes.txt"), Packing::Plain);
        assert_eq!(Packing::detect(b"BZ"), Packing::Plain);
        assert_eq!(Packing::detect(b""), Packing::Plain);
        assert_eq!(Packing::detect(b"\x1f\x8b\x08"), Packing::Gzip);
    }
}
