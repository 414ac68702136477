//! One netlink socket: changes, look-ups and dumps of rtnetlink, and transactions and
//! look-ups of netfilter.
//!
//! The kernel does what a request says inside `send`, so there is nothing to wait
//! for asynchronously; a blocking socket on a thread of our own saves every wake-up
//! in between. Many changes go in one datagram, and only the last asks for an
//! acknowledgement: refusals are always reported, with the change's sequence number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::catch_unwind;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlasIterator, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::errno::Refusal;
use crate::KernelError;

/// Attribute of an extended acknowledgement that holds a text (`NLMSGERR_ATTR_MSG`).
const EXPLANATION: u16 = 1;
/// The one that holds an offset of the request (`NLMSGERR_ATTR_OFFS`).
const OFFSET: u16 = 2;
/// The kernel never answers with larger datagrams.
const DATAGRAM: usize = 64 * 1024;
/// `MAX_ERRNO` of the kernel.
const LARGEST_ERRNO: i32 = 4095;
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

/// What the work with a socket may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Make what differs.
    Make,
    /// Only tell what differs: no change is made.
    Compare,
}

/// A socket of one network namespace.
pub(crate) struct Socket {
    inner: netlink_sys::Socket,
    mode: Mode,
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
        Self::of_protocol(NETLINK_ROUTE)
    }

    /// As [`Self::try_new`], for another part of the kernel than rtnetlink.
    pub(crate) fn of_protocol(protocol: isize) -> io::Result<Self> {
        let inner = netlink_sys::Socket::new(protocol)?;
        inner.connect(&SocketAddr::new(0, 0))?;
        inner.set_ext_ack(true)?;
        // A refusal then does not repeat the request, for which an answer may lack the room.
        inner.set_cap_ack(true)?;
        // Dumps are then filtered by the kernel (5.0); older ones send everything.
        let _ = inner.set_netlink_get_strict_chk(true);
        Ok(Self {
            inner,
            mode: Mode::Make,
            sequence: 0,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// The same socket; changes that are applied by it are not made from now on.
    pub(crate) fn comparing(self) -> Self {
        Self {
            mode: Mode::Compare,
            ..self
        }
    }

    /// Whether changes are made.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The port that the kernel knows the socket by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.inner.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Makes the changes in order, however many. All are tried; the first refusal is
    /// returned. A socket that compares makes none.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        if self.mode == Mode::Compare {
            return Ok(());
        }
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
            // The kernel works a datagram off in order and tells refusals unasked: the last
            // acknowledgement means that all have been tried.
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
            // Also when the socket failed after it: the refusal came first.
            (_, Some(failed)) => Err(failed),
            (Ok(()), None) => Ok(()),
            (Err(error), None) => Err(Refused {
                operation: std::mem::take(&mut meanings[0].0),
                refusal: error.into(),
            }),
        }
    }

    /// Sends messages that the kernel takes as one, each with its flags, and waits for
    /// the answer to the last but one: what ends a transaction is not answered.
    ///
    /// All have the same number. A kernel that refuses all of them answers the first, and
    /// what is still to come of an answer is passed over by the next.
    pub(crate) fn transact<M>(&mut self, messages: Vec<(M, u16)>) -> Result<(), Refusal>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let number = self.next_number();
        let mut datagram = Vec::with_capacity(1024);
        for (message, flags) in messages {
            append(&mut datagram, message, flags, number);
        }
        self.send(&datagram)?;
        let mut refused = None;
        self.answers(number, |_, answer| {
            if let Answer::Refused(refusal) = answer {
                refused = Some(refusal);
            }
        })?;
        refused.map_or(Ok(()), Err)
    }

    fn next_number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// One request that is answered with at most one message.
    pub(crate) fn ask<M>(&mut self, message: M, flags: u16) -> Result<Option<Reply>, Refusal>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
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
    pub(crate) fn dump<M>(&mut self, message: &M) -> Result<Vec<Reply>, Refusal>
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>> + Clone,
    {
        whole(|| {
            let mut datagram = Vec::with_capacity(128);
            self.append(&mut datagram, message.clone(), NLM_F_DUMP);
            self.send(&datagram)?;
            let mut dump = Dump::default();
            self.answers(self.sequence, |_, answer| dump.take(answer))?;
            Ok(dump)
        })
    }

    fn append<M>(&mut self, datagram: &mut Vec<u8>, message: M, flags: u16)
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let number = self.next_number();
        append(datagram, message, flags, number);
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
            if take_all(&self.buffer, (first, count), &mut take)? {
                return Ok(());
            }
        }
    }
}

/// Takes the messages of a datagram that answer requests: the first one's number, and how
/// many follow it. Says whether the answer to the last has ended.
fn take_all(
    datagram: &[u8],
    (first, count): (u32, u32),
    mut take: impl FnMut(u32, Answer),
) -> io::Result<bool> {
    let mut rest = datagram;
    while rest.len() >= HEADER {
        let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
        let position = message.sequence_number().wrapping_sub(first);
        let ours = position <= count;
        let ended = ours && read(&message, |answer| take(position, answer))?;
        if ended && position == count {
            return Ok(true);
        }
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(false)
}

/// The replies in a datagram, as far as it makes sense.
#[cfg(feature = "fuzz")]
pub(crate) fn replies(datagram: &[u8]) -> Vec<Reply> {
    let mut found = Vec::new();
    // What makes no sense fails the request.
    let _ = take_all(datagram, (0, u32::MAX), |_, answer| {
        if let Answer::Message(reply) = answer {
            found.push(reply);
        }
    });
    found
}

fn append<M>(datagram: &mut Vec<u8>, message: M, flags: u16, number: u32)
where
    M: NetlinkSerializable + Into<NetlinkPayload<M>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = number;
    let mut request = NetlinkMessage::new(header, message.into());
    request.finalize();
    let start = datagram.len();
    datagram.resize((start + request.buffer_len()).next_multiple_of(4), 0);
    request.serialize(&mut datagram[start..]);
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
        self.parse_as()
    }

    /// As [`Self::parse`], of another part of the kernel.
    pub(crate) fn parse_as<M: NetlinkDeserializable>(&self) -> Option<M> {
        // The parser of netfilter's messages panics at attributes that end too early.
        let parsed = catch_unwind(|| M::deserialize(&self.header, &self.payload)).ok()?;
        parsed
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
    (code < 0).then(|| Refusal::new(errno(code), explanation(&payload[4..])))
}

/// The errno of a negative code; one that Linux does not have is as good as any refusal.
fn errno(code: i32) -> Errno {
    let known = (1..=LARGEST_ERRNO).contains(&code.saturating_neg());
    match known {
        true => Errno::from_raw_os_error(-code),
        false => Errno::INVAL,
    }
}

/// The kernel's own words among the attributes behind an error.
fn explanation(attributes: &[u8]) -> Option<String> {
    let mut all = NlasIterator::new(attributes).flatten();
    let attribute = all.find(|attribute| attribute.kind() == EXPLANATION)?;
    let text = attribute.value().split(|byte| *byte == 0).next();
    Some(String::from_utf8_lossy(text.unwrap_or_default()).into_owned())
}

/// The offset among the attributes behind an error.
fn offset(attributes: &[u8]) -> Option<usize> {
    let mut all = NlasIterator::new(attributes).flatten();
    let attribute = all.find(|attribute| attribute.kind() == OFFSET)?;
    let offset = u32::from_ne_bytes(attribute.value().try_into().ok()?);
    usize::try_from(offset).ok()
}

/// Reads an acknowledgement: `None` when it says that all is well.
fn refusal(payload: &[u8], flags: u16) -> Option<Refusal> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    let errno = (code != 0).then(|| errno(code))?;
    // Behind the code stands the request's header, alone as we asked for.
    let trimmed = flags & NLM_F_CAPPED != 0 && flags & NLM_F_ACK_TLVS != 0;
    let attributes = trimmed.then(|| payload.get(4 + HEADER..)).flatten();
    let refusal = Refusal::new(errno, attributes.and_then(explanation));
    Some(refusal.pointing_at(attributes.and_then(offset)))
}

#[cfg(test)]
mod tests;
