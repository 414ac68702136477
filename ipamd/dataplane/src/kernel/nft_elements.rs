//! Elements of nftables' sets and maps, added, removed and looked up by netlink:
//! microseconds, where the program `nft` takes milliseconds.
//!
//! It makes no set and no table: these come with a table's text. What an element's parts
//! mean is the set's declaration (`type inet_proto . inet_service : ipv4_addr`). Sets whose
//! elements come and go belong into a table of their own: our table `inet veni` is loaded
//! anew where it differs, without the elements.

use std::fmt;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, Nla};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList,
    SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::errno::Refusal;
use super::netlink::{Reply, Socket};
use crate::KernelError;

/// Subsystem of nftables (`nfnetlink.h`), which the messages around a transaction name.
const NFTABLES: u16 = 10;
/// Bytes before the first attribute: the headers of netlink and of nfnetlink.
const HEADERS: usize = 16 + 4;
/// Parts of a concatenation begin at multiples of a register's size.
const REGISTER: usize = 4;
/// Elements in one message: the attribute that holds them has at most 64 KiB.
const IN_ONE_MESSAGE: usize = 200;

/// Which packets a table sees, as its name says (`table inet …`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 alone.
    Ip,
    /// IPv6 alone.
    Ip6,
}

impl TableFamily {
    fn number(self) -> NetfilterProtoFamily {
        match self {
            Self::Inet => NetfilterProtoFamily::Inet,
            Self::Ip => NetfilterProtoFamily::IPv4,
            Self::Ip6 => NetfilterProtoFamily::IPv6,
        }
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// A set or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetName {
    /// Family of its table.
    pub family: TableFamily,
    /// Name of its table.
    pub table: &'static str,
    /// Its own name.
    pub set: &'static str,
}

impl fmt::Display for SetName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, set } = self;
        write!(out, "set {set} of table {family} {table}")
    }
}

/// One part of a key or of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `ipv4_addr` or `ipv6_addr`.
    Address(IpAddr),
    /// `inet_service`: a port.
    Port(u16),
    /// `inet_proto`: the number of a protocol above IP.
    Protocol(u8),
}

impl Part {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Self::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Self::Port(port) => port.to_be_bytes().to_vec(),
            Self::Protocol(protocol) => vec![protocol],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(out, "{address}"),
            Self::Port(number) => write!(out, "{number}"),
            Self::Protocol(number) => write!(out, "{number}"),
        }
    }
}

/// An element of a set, or of a map where it has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// What it is found by; more than one part is a concatenation.
    pub key: Vec<Part>,
    /// What a map answers; empty in a set.
    pub value: Vec<Part>,
}

impl fmt::Display for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let concatenated = |parts: &[Part]| {
            let words: Vec<String> = parts.iter().map(Part::to_string).collect();
            words.join(" . ")
        };
        out.write_str(&concatenated(&self.key))?;
        match self.value.is_empty() {
            true => Ok(()),
            false => write!(out, " : {}", concatenated(&self.value)),
        }
    }
}

/// A way to the sets and maps of one network namespace.
pub struct SetElements {
    socket: Socket,
}

/// An element, and the set that it belongs to.
pub type Member = (SetName, Element);

/// Key and value of an element as the kernel has them; the value is empty in a set.
pub type Bytes = (Vec<u8>, Vec<u8>);

impl SetElements {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// No netlink socket. Without CAP_NET_ADMIN the verbs fail, not this.
    pub fn try_new() -> io::Result<Self> {
        let socket = Socket::of_protocol(NETLINK_NETFILTER)?;
        Ok(Self { socket })
    }

    /// The port that the kernel knows the socket by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        self.socket.port()
    }

    /// The socket, for what else netfilter is asked.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Removes some elements and adds others in one transaction. A removed one is found by
    /// its key and must be there; an added one that is there already with its value stays
    /// as it is.
    ///
    /// # Errors
    /// [`KernelError::NoSuchSet`], and what the kernel refused: an added element whose key
    /// leads elsewhere already, or one whose parts are not what the set declares. Nothing is
    /// changed then.
    pub fn change(&mut self, removed: &[Member], added: &[Member]) -> Result<(), KernelError> {
        let Some((first, _)) = added.first().or(removed.first()) else {
            return Ok(());
        };
        self.commit(removed, added).map_err(|refusal| {
            let words = |all: &[Member]| {
                let words = all
                    .iter()
                    .map(|(set, element)| format!("{element} of {set}"));
                words.collect::<Vec<_>>().join(", ")
            };
            let operation = match (removed.is_empty(), added.is_empty()) {
                (true, _) => format!("add element {}", words(added)),
                (false, true) => format!("remove element {}", words(removed)),
                (false, false) => format!("replace element {} by {}", words(removed), words(added)),
            };
            explained(&refusal, first, operation)
        })
    }

    fn commit(&mut self, removed: &[Member], added: &[Member]) -> Result<(), Refusal> {
        let around = |message| {
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
            (NetfilterMessage::new(header, message), 0)
        };
        let mut messages = vec![around(ControlMessage::BatchBegin)];
        for (set, elements) in by_set(removed) {
            let message = NfTablesMessage::DeleteSetElement(of_set(set, elements));
            messages.push((to(set, message), 0));
        }
        for (set, elements) in by_set(added) {
            let message = NfTablesMessage::NewSetElement(of_set(set, elements));
            messages.push((to(set, message), NLM_F_CREATE));
        }
        if let Some((_, flags)) = messages.last_mut() {
            *flags |= NLM_F_ACK;
        }
        messages.push(around(ControlMessage::BatchEnd));
        self.socket.transact(messages)
    }

    /// The bytes of the value that a map has for a key; those of a set are empty. `None`
    /// where there is no such element.
    ///
    /// # Errors
    /// [`KernelError::NoSuchSet`], and what the kernel refused.
    pub fn value_of(
        &mut self,
        set: &SetName,
        element: &Element,
    ) -> Result<Option<Vec<u8>>, KernelError> {
        let key = Element {
            value: Vec::new(),
            ..element.clone()
        };
        let message = NfTablesMessage::GetSetElement(of_set(set, vec![&key]));
        match self.socket.ask(to(set, message), 0) {
            Ok(reply) => Ok(reply
                .and_then(|reply| read(&reply).pop())
                .map(|(_, value)| value)),
            Err(refusal) if refusal.gone() && missing(&refusal, set).is_none() => Ok(None),
            Err(refusal) => {
                let operation = format!("look element {key} of {set} up");
                Err(explained(&refusal, set, operation))
            }
        }
    }

    /// The bytes of all elements of a set: keys and values.
    ///
    /// # Errors
    /// [`KernelError::NoSuchSet`], and what the kernel refused.
    pub fn list(&mut self, set: &SetName) -> Result<Vec<Bytes>, KernelError> {
        let message = NfTablesMessage::GetSetElement(of_set(set, Vec::new()));
        let listed = self.socket.dump(&to(set, message)).map_err(|refusal| {
            // Kernels without nftables know no request of it.
            match refusal.gone() || refusal.no_such_family() || refusal.invalid() {
                true => KernelError::NoSuchSet(set.to_string()),
                false => refusal.during(format!("list the elements of {set}")),
            }
        })?;
        Ok(listed.iter().flat_map(read).collect())
    }
}

/// Elements of one set after the other, so many that a message can hold them.
fn by_set(members: &[Member]) -> Vec<(&SetName, Vec<&Element>)> {
    let mut parts: Vec<(&SetName, Vec<&Element>)> = Vec::new();
    for (set, element) in members {
        let part = parts
            .iter_mut()
            .find(|(other, elements)| *other == set && elements.len() < IN_ONE_MESSAGE);
        match part {
            Some((_, elements)) => elements.push(element),
            None => parts.push((set, vec![element])),
        }
    }
    parts
}

fn to(set: &SetName, message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(set.family.number(), 0, 0), message)
}

fn of_set(set: &SetName, elements: Vec<&Element>) -> SetElementMessage {
    let mut attributes = vec![
        SetElementList::Table(set.table.to_owned()),
        SetElementList::Set(set.set.to_owned()),
    ];
    if !elements.is_empty() {
        let elements = elements.into_iter().map(|element| {
            let data = |parts: &[Part]| DataAttribute::Value(concatenated(parts));
            let mut one = vec![SetElementAttribute::Key(data(&element.key))];
            if !element.value.is_empty() {
                one.push(SetElementAttribute::Data(data(&element.value)));
            }
            ListAttribute::Element(one)
        });
        attributes.push(SetElementList::Elements(elements.collect()));
    }
    SetElementMessage { attributes }
}

/// Keys and values of the elements of an answer.
pub(crate) fn read(reply: &Reply) -> Vec<Bytes> {
    let Some(NetfilterMessage {
        inner: NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(message)),
        ..
    }) = reply.parse_as()
    else {
        return Vec::new();
    };
    let lists = message
        .attributes
        .into_iter()
        .filter_map(|list| match list {
            SetElementList::Elements(elements) => Some(elements),
            _ => None,
        });
    let elements = lists.flatten().filter_map(|element| match element {
        ListAttribute::Element(attributes) => key_and_value(attributes),
        _ => None,
    });
    elements.collect()
}

fn key_and_value(attributes: Vec<SetElementAttribute>) -> Option<Bytes> {
    let (mut key, mut value) = (None, Vec::new());
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => key = Some(bytes),
            SetElementAttribute::Data(DataAttribute::Value(bytes)) => value = bytes,
            _ => {}
        }
    }
    key.map(|key| (key, value))
}

/// Which of the set's names the kernel does not know: it points at the attribute.
fn missing(refusal: &Refusal, set: &SetName) -> Option<KernelError> {
    let SetName { family, table, .. } = set;
    let text = SetElementList::Table((*table).to_owned());
    let set_at = HEADERS + (4 + text.value_len()).next_multiple_of(4);
    match refusal.attribute_at()? {
        HEADERS => Some(KernelError::NoSuchSet(format!("table {family} {table}"))),
        at if at == set_at => Some(KernelError::NoSuchSet(set.to_string())),
        _ => None,
    }
}

fn explained(refusal: &Refusal, set: &SetName, operation: String) -> KernelError {
    let named = refusal.gone().then(|| missing(refusal, set)).flatten();
    named.unwrap_or_else(|| refusal.clone().during(operation))
}

/// A single part is as long as its type; those of a concatenation fill registers.
pub(crate) fn concatenated(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(part.bytes());
        if parts.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(REGISTER), 0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_concatenation_fill_registers_and_a_single_part_does_not() {
        let key = [Part::Protocol(6), Part::Port(8080)];
        assert_eq!(concatenated(&key), [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(concatenated(&key[1..]), [0x1f, 0x90]);
    }

    #[test]
    fn an_element_is_printed_as_nft_prints_it() {
        let address = Part::Address("10.0.0.7".parse().expect("an address"));
        let mut element = Element {
            key: vec![Part::Protocol(6), Part::Port(80)],
            value: vec![address],
        };
        assert_eq!(element.to_string(), "6 . 80 : 10.0.0.7");
        element.value.clear();
        assert_eq!(element.to_string(), "6 . 80");
    }
}
