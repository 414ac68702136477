//! One rtnetlink socket: changes, look-ups and dumps.
//!
//! The kernel does what a request says inside `send`, so there is nothing to wait
//! for asynchronously; a blocking socket on a thread of our own saves every wake-up
//! in between. Many changes go in one datagram, and only the last asks for an
//! acknowledgement: refusals are always reported, with the change's sequence number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::errno::Refusal;
use crate::KernelError;

/// Attribute of an extended acknowledgement that holds a text (`NLMSGERR_ATTR_MSG`).
const EXPLANATION: u16 = 1;
/// The kernel never answers with larger datagrams.
const DATAGRAM: usize = 64 * 1024;
/// Bytes of a netlink header.
const HEADER: usize = 16;
/// Changes in one datagram. A send buffer of the usual size holds some 2,000 of them, and
/// a receive buffer refusals of some 220: a lost one would be taken for success.
const AT_ONCE: usize = 200;
/// How often a dump is repeated when something changed while it ran.
const DUMP_ATTEMPTS: usize = 10;

/// One change of the kernel's tables.
pub(crate) struct Change {
    message: RouteNetlinkMessage,
    flags: u16,
    /// Operation and object, for the error's text.
    operation: String,
    /// Refusals that mean the change is made already.
    fine: fn(&Refusal) -> bool,
}

impl Change {
    pub(crate) fn new(
        message: RouteNetlinkMessage,
        flags: u16,
        operation: impl Into<String>,
    ) -> Self {
        Self {
            message,
            flags,
            operation: operation.into(),
            fine: |_| false,
        }
    }

    /// Some refusals are success.
    pub(crate) fn unless(mut self, fine: fn(&Refusal) -> bool) -> Self {
        self.fine = fine;
        self
    }
}

/// A refused change.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) operation: String,
    pub(crate) refusal: Refusal,
}

impl From<Refused> for KernelError {
    fn from(refused: Refused) -> Self {
        refused.refusal.during(refused.operation)
    }
}

/// A socket of one network namespace.
pub(crate) struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn try_new() -> io::Result<Self> {
        let inner = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_ext_ack(true)?;
        inner.set_cap_ack(true)?;
        // Dumps are then filtered by the kernel (5.0); older ones send everything.
        let _ = inner.set_netlink_get_strict_chk(true);
        Ok(Self {
            inner,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// The port that the kernel knows the socket by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.inner.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Makes the changes in order, however many. All are tried; the first refusal is
    /// returned.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        in_parts(changes, |some| self.apply_in_one(some))
    }

    /// Makes changes that fit into one datagram.
    fn apply_in_one(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        let Some(last) = changes.len().checked_sub(1) else {
            return Ok(());
        };
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::with_capacity(1024);
        let mut meanings = Vec::with_capacity(changes.len());
        for (position, change) in changes.into_iter().enumerate() {
            let acknowledge = if position == last { NLM_F_ACK } else { 0 };
            self.append(&mut datagram, change.message, change.flags | acknowledge);
            meanings.push((change.operation, change.fine));
        }
        let mut failed = None;
        let outcome = self.send(&datagram).and_then(|()| {
            self.answers(first, |position, answer| {
                if let Answer::Refused(refusal) = answer
                    && let Some((operation, fine)) = meanings.get_mut(position as usize)
                    && !fine(&refusal)
                    && failed.is_none()
                {
                    failed = Some(Refused {
                        operation: std::mem::take(operation),
                        refusal,
                    });
                }
            })
        });
        match (outcome, failed) {
            (_, Some(failed)) => Err(failed),
            (Ok(()), None) => Ok(()),
            (Err(error), None) => Err(Refused {
                operation: std::mem::take(&mut meanings[0].0),
                refusal: error.into(),
            }),
        }
    }

    /// One request that is answered with at most one message.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<Reply>, Refusal> {
        let mut datagram = Vec::with_capacity(512);
        self.append(&mut datagram, message, flags | NLM_F_ACK);
        self.send(&datagram)?;
        let (mut found, mut refused) = (None, None);
        self.answers(self.sequence, |_, answer| match answer {
            Answer::Message(message) => found = Some(message),
            Answer::Refused(refusal) => refused = Some(refusal),
            Answer::Changed => {}
        })?;
        refused.map_or(Ok(found), Err)
    }

    /// As [`Self::ask`], for a change that the kernel echoes (`NLM_F_ECHO`).
    pub(crate) fn apply_echoed(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<Reply>, Refusal> {
        self.ask(message, flags | NLM_F_ECHO)
    }

    /// All messages of a table. Repeated while the table changes under it; one that
    /// never came out whole is an error, because it may lack what is there.
    pub(crate) fn dump(&mut self, message: &RouteNetlinkMessage) -> Result<Vec<Reply>, Refusal> {
        whole(|| {
            let mut datagram = Vec::with_capacity(128);
            self.append(&mut datagram, message.clone(), NLM_F_DUMP);
            self.send(&datagram)?;
            let mut dump = Dump::default();
            self.answers(self.sequence, |_, answer| dump.take(answer))?;
            Ok(dump)
        })
    }

    fn append(&mut self, datagram: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let start = datagram.len();
        datagram.resize((start + request.buffer_len()).next_multiple_of(4), 0);
        request.serialize(&mut datagram[start..]);
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.inner.send(datagram, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// Reads up to the end of what answers the requests from `first` on. What is left
    /// of an earlier one, whose job ended early, is passed over.
    fn answers(&mut self, first: u32, mut take: impl FnMut(u32, Answer)) -> io::Result<()> {
        let count = self.sequence.wrapping_sub(first);
        loop {
            self.buffer.clear();
            match self.inner.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            let mut rest = self.buffer.as_slice();
            while rest.len() >= HEADER {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let position = message.sequence_number().wrapping_sub(first);
                let ours = position <= count;
                let ended = ours && read(&message, |answer| take(position, answer))?;
                if ended && position == count {
                    return Ok(());
                }
                let length = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}

/// Applies parts of at most [`AT_ONCE`], all of them; the first refusal is returned.
fn in_parts<C>(
    changes: Vec<C>,
    mut apply: impl FnMut(Vec<C>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut outcome = Ok(());
    let mut left = changes.into_iter();
    loop {
        let some: Vec<C> = left.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return outcome;
        }
        outcome = outcome.and(apply(some));
    }
}

/// One attempt at a dump.
#[derive(Default)]
struct Dump {
    found: Vec<Reply>,
    refused: Option<Refusal>,
    changed: bool,
}

impl Dump {
    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Message(message) => self.found.push(message),
            Answer::Refused(refusal) => self.refused = Some(refusal),
            Answer::Changed => self.changed = true,
        }
    }
}

/// Repeats a dump until nothing changed under it.
fn whole(mut attempt: impl FnMut() -> Result<Dump, Refusal>) -> Result<Vec<Reply>, Refusal> {
    for _ in 0..DUMP_ATTEMPTS {
        let dump = attempt()?;
        if let Some(refusal) = dump.refused {
            return Err(refusal);
        }
        if !dump.changed {
            return Ok(dump.found);
        }
    }
    let why = format!("the table changed during each of {DUMP_ATTEMPTS} attempts to list it");
    Err(Refusal::new(Errno::AGAIN, Some(why)))
}

/// Reads one message and says whether it ends the answer to its request.
fn read(message: &NetlinkBuffer<&[u8]>, mut take: impl FnMut(Answer)) -> io::Result<bool> {
    if message.flags() & NLM_F_DUMP_INTR != 0 {
        take(Answer::Changed);
    }
    match message.message_type() {
        NLMSG_DONE => {
            // What has ended early says so here, behind what it had listed by then.
            if let Some(refusal) = ended_early(message.payload()) {
                take(Answer::Refused(refusal));
            }
            Ok(true)
        }
        NLMSG_ERROR => {
            if let Some(refusal) = refusal(message.payload(), message.flags()) {
                take(Answer::Refused(refusal));
            }
            Ok(true)
        }
        _ => {
            let header = NetlinkHeader::parse(message).map_err(io::Error::other)?;
            let payload = message.payload().to_vec();
            take(Answer::Message(Reply { header, payload }));
            Ok(false)
        }
    }
}

/// One message that the kernel answered with, not parsed yet: what others have in
/// the tables may be newer than our parser, and must not hide what is ours.
pub(crate) struct Reply {
    header: NetlinkHeader,
    pub(crate) payload: Vec<u8>,
}

impl Reply {
    /// The message; `None` when it holds something that the parser does not know.
    pub(crate) fn parse(&self) -> Option<RouteNetlinkMessage> {
        RouteNetlinkMessage::deserialize(&self.header, &self.payload)
            .inspect_err(|error| tracing::debug!(%error, "passed a netlink message over"))
            .ok()
    }
}

enum Answer {
    Message(Reply),
    Refused(Refusal),
    /// The dumped table changed meanwhile.
    Changed,
}

/// Reads the end of a dump: `None` when all was listed.
fn ended_early(payload: &[u8]) -> Option<Refusal> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    (code < 0).then(|| Refusal::new(Errno::from_raw_os_error(-code), explanation(&payload[4..])))
}

/// The kernel's own words among the attributes behind an error.
fn explanation(attributes: &[u8]) -> Option<String> {
    let mut all = NlasIterator::new(attributes).flatten();
    let attribute = all.find(|attribute| attribute.kind() == EXPLANATION)?;
    let text = attribute.value().split(|byte| *byte == 0).next();
    Some(String::from_utf8_lossy(text.unwrap_or_default()).into_owned())
}

/// Reads an acknowledgement: `None` when it says that all is well.
fn refusal(payload: &[u8], flags: u16) -> Option<Refusal> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    let errno = (code != 0).then(|| Errno::from_raw_os_error(-code))?;
    // Behind the code stands the request's header, alone as we asked for.
    let trimmed = flags & NLM_F_CAPPED != 0 && flags & NLM_F_ACK_TLVS != 0;
    let attributes = trimmed.then(|| payload.get(4 + HEADER..)).flatten();
    Some(Refusal::new(errno, attributes.and_then(explanation)))
}

#[cfg(test)]
mod tests;
