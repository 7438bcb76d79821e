//! What comes from the other side of a connection.

use std::io;

use isptar_core::io::FinishedSlice;
use isptar_core::remote::frame::Head;
use isptar_core::remote::message::{Member, encode_want, parse_offer, parse_want};
use isptar_core::remote::{
    ReceiveOptions, SendOptions, receive, receive_classic, send, send_classic,
};
use isptar_core::{Archive, CreateOptions, Limits, Result, Sink};

/// An archive in memory, and whether it has its name.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    published: bool,
}

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish_slice(&mut self, _slice: &FinishedSlice) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self, _identity: &[u8; 32]) -> Result<()> {
        self.published = true;
        Ok(())
    }
}

/// Whatever comes, an archive is published only when it succeeds, and is whole then; a client sends
/// nothing that it did not offer.
pub fn remote_streams(data: &[u8]) {
    frames(data);
    let mut sink = Memory::default();
    let received = receive(data, io::sink(), &mut sink, &ReceiveOptions::default(), None, &mut ());
    check(&sink, received.is_ok());
    let mut sink = Memory::default();
    let options = CreateOptions::default();
    let received = receive_classic(data, io::sink(), &mut sink, &options, &mut ());
    check(&sink, received.is_ok());
    clients(data);
}

fn check(sink: &Memory, succeeded: bool) {
    assert_eq!(sink.published, succeeded);
    if sink.published {
        let archive = Archive::open(sink.bytes.as_slice()).expect("was published");
        assert!(archive.entries().all(|entry| entry.is_ok()));
    }
}

/// Both clients, with an empty directory: what the server says must not matter.
fn clients(data: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = SendOptions::default();
    options.create.directory = directory.path().to_owned();
    let answers = io::Cursor::new(data.to_vec());
    let paths = [".".into()];
    let _ = send(answers, io::sink(), &paths, &options, &mut ());
    let mut sent = Vec::new();
    let _ = send_classic(data, &mut sent, &paths, &options.create, &mut ());
    assert_eq!(sent, [0, 0]);
}

/// What is taken is written so that it says the same.
fn frames(data: &[u8]) {
    let limits = Limits::default();
    if let Some(bytes) = data.first_chunk()
        && let Ok(head) = Head::parse(bytes)
    {
        assert_eq!(head.encode()[..9], bytes[..9]);
    }
    let _ = parse_offer(data, &limits);
    if let Ok(wanted) = parse_want(data, data.len() * 8) {
        assert_eq!(encode_want(&wanted), data);
    }
    if let Ok(member) = Member::parse(data, &limits)
        && let Some(header) = &member.header
    {
        let mut again = Vec::new();
        let (details, lost) = (member.details(), member.entry.lost.as_deref());
        if Member::encode(header, details, lost, &limits, &mut again).is_ok() {
            let again = Member::parse(&again, &limits).expect("was written");
            assert_eq!(again.header.as_ref(), Some(header));
        }
    }
}
