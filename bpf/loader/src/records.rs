//! What the programs tell of single packets.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use veni_policy::Direction;

use crate::Error;
use crate::layout::{Address, RECORD, Reason};
use crate::maps;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// It opened a flow.
    Opened,
    /// It was dropped.
    Dropped(Reason),
    /// It passed, and would have been dropped but for the audit.
    WouldDrop(Reason),
}

/// One packet that the programs tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Of CLOCK_MONOTONIC.
    pub time: Duration,
    /// Index of the node's end of the endpoint's veth pair.
    pub host_index: u32,
    /// The endpoint's; 0 on a link without one.
    pub generation: u64,
    /// What became of it.
    pub kind: RecordKind,
    /// Whose policy judged: what the endpoint receives or what it sends.
    pub direction: Direction,
    /// As in the packet; `::` where it has none.
    pub source: IpAddr,
    /// As in the packet.
    pub destination: IpAddr,
    /// 0 where the protocol has no ports.
    pub source_port: u16,
    /// 0 where the protocol has no ports.
    pub destination_port: u16,
    /// Number of the protocol (IANA).
    pub protocol: u8,
    /// Bytes, with Ethernet's header.
    pub length: u32,
    /// Number of the rule set that judged; 0 where none did.
    pub set: u32,
    /// Index among that set's origins of the policy that allowed it.
    pub origin: Option<u32>,
}

/// Reads records, in their order. Only one reader at a time gets each.
pub struct Records {
    ring: RingBuf<MapData>,
}

impl Records {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            ring: maps::ring(folder, "records")?,
        })
    }
}

/// The next record; ends when none waits, and goes on when one does.
impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let item = self.ring.next()?;
            if let Some(record) = read(&item) {
                return Some(record);
            }
        }
    }
}

/// Readable when a record waits.
impl AsFd for Records {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Takes `struct record` of layout.h apart.
fn read(bytes: &[u8]) -> Option<Record> {
    let bytes: &[u8; RECORD] = bytes.get(..RECORD)?.try_into().ok()?;
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let address = |at: usize| Some(Address(bytes.get(at..at + 16)?.try_into().ok()?).to_ip());
    let [protocol, kind, direction, reason] = bytes[64..68] else {
        return None;
    };
    let (set, origin) = (word(68)?, word(56)?);
    let kind = match kind {
        0 => RecordKind::Opened,
        1 => RecordKind::Dropped(Reason::of(reason)?),
        _ => RecordKind::WouldDrop(Reason::of(reason)?),
    };
    Some(Record {
        time: Duration::from_nanos(long(0)?),
        generation: long(8)?,
        source: address(16)?,
        destination: address(32)?,
        host_index: word(48)?,
        length: word(52)?,
        origin: (kind == RecordKind::Opened && set != 0).then_some(origin),
        source_port: port(60)?,
        destination_port: port(62)?,
        protocol,
        kind,
        direction: match direction {
            0 => Direction::Ingress,
            _ => Direction::Egress,
        },
        set,
    })
}
