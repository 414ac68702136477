//! One socket of rtnetlink in the node's network namespace.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::Error;

/// The kernel never answers with larger datagrams.
const DATAGRAM: usize = 64 * 1024;
/// Bytes of a message's header.
const HEADER: usize = 16;

/// A socket, and the number of its last request.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// What the kernel answers: payloads without their headers.
type Answer = io::Result<Vec<Vec<u8>>>;

impl Netlink {
    /// Opens one in the calling thread's network namespace.
    pub(crate) fn try_new() -> Result<Self, Error> {
        let open = || {
            let socket = Socket::new(NETLINK_ROUTE)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_cap_ack(true)?;
            // Dumps are then filtered by the kernel (5.0).
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(Self {
                socket,
                sequence: 0,
            })
        };
        open().map_err(|source| Error::Netlink {
            operation: "open a socket of rtnetlink".to_owned(),
            source,
        })
    }

    /// Makes a change.
    pub(crate) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, flags | NLM_F_ACK).map(|_| ())
    }

    /// Lists what the kernel has.
    pub(crate) fn dump(&mut self, message: RouteNetlinkMessage) -> Answer {
        self.ask(message, NLM_F_DUMP)
    }

    /// Looks one thing up; `None` where it is not there.
    pub(crate) fn look_up(&mut self, message: RouteNetlinkMessage) -> io::Result<Option<Vec<u8>>> {
        match self.ask(message, NLM_F_ACK) {
            Ok(answers) => Ok(answers.into_iter().next()),
            Err(error) if is(&error, Errno::NODEV) || is(&error, Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> Answer {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        debug_assert!(matches!(request.payload, NetlinkPayload::InnerMessage(_)));
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        self.answers()
    }

    fn answers(&mut self) -> Answer {
        let mut answers = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            self.socket.recv(&mut datagram, 0)?;
            let mut rest = datagram.as_slice();
            while let Some((kind, sequence, payload, following)) = split(rest) {
                rest = following;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => return outcome(payload).map(|()| answers),
                    _ => answers.push(payload.to_vec()),
                }
            }
        }
    }
}

/// Kind, sequence number and payload of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let payload = bytes.get(HEADER..length)?;
    let following = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, word(bytes, 8)?, payload, following))
}

/// What an acknowledgement says: an errno below zero, or 0.
fn outcome(payload: &[u8]) -> io::Result<()> {
    match word(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Whether the kernel refused with this errno.
pub(crate) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// A word at an offset.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at + 4)?;
    value.try_into().ok().map(u32::from_ne_bytes)
}

/// The value of the first attribute of a number.
pub(crate) fn attribute(attributes: &[u8], number: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        // The two upper bits say how the value is encoded.
        if kind & 0x3fff == number {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// Text of an attribute.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}
