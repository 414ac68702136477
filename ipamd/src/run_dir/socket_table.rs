//! The abstract sockets of this network namespace with the users who made them, as
//! the kernel's socket diagnostics list them (sock_diag(7), unix_diag). Read only.

use std::collections::BTreeMap;
use std::io;
use std::mem::size_of;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Kinds of messages (linux/netlink.h, linux/sock_diag.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST and NLM_F_DUMP.
const REQUEST_AND_DUMP: u16 = 0x301;
/// UDIAG_SHOW_NAME and UDIAG_SHOW_UID.
const NAME_AND_USER: u32 = 0x41;
/// Attributes of a socket (linux/unix_diag.h).
const NAME: u16 = 0;
const USER: u16 = 7;

const HEADER: usize = 16;
/// `struct unix_diag_msg`.
const MESSAGE: usize = 16;
/// More than the kernel puts into one answer.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A socket with an abstract name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AbstractSocket {
    pub(super) inode: u64,
    /// Without the zero byte in front.
    pub(super) name: String,
    /// Who made it; `None` where the kernel is older than 5.3 and does not tell.
    pub(super) user: Option<u32>,
}

/// The abstract sockets whose names begin so.
///
/// # Errors
/// The kernel has no diagnostics of unix sockets, or refuses them.
pub(super) fn named(prefix: &str) -> io::Result<Vec<AbstractSocket>> {
    let mut found = BTreeMap::new();
    // The kernel goes on by position: what others close meanwhile can hide a socket
    // from one listing.
    for _ in 0..2 {
        for socket in list()? {
            if socket.name.starts_with(prefix) {
                found.insert(socket.inode, socket);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn list() -> io::Result<Vec<AbstractSocket>> {
    let netlink = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    send(&netlink, &request(), SendFlags::empty())?;
    let mut sockets = Vec::new();
    let mut answer = vec![0; LARGEST_ANSWER];
    loop {
        let (length, _) = recv(&netlink, answer.as_mut_slice(), RecvFlags::empty())?;
        if read(&answer[..length], &mut sockets)? {
            return Ok(sockets);
        }
    }
}

/// `struct nlmsghdr` and `struct unix_diag_req`: all states, no single socket.
fn request() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(40_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_AND_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    let family = u8::try_from(AddressFamily::UNIX.as_raw()).unwrap_or(1);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(NAME_AND_USER.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

/// Reads one answer and tells whether it was the last.
fn read(mut answer: &[u8], sockets: &mut Vec<AbstractSocket>) -> io::Result<bool> {
    while answer.len() >= HEADER {
        let length = number(answer, 0).unwrap_or_default() as usize;
        let message = answer
            .get(HEADER..length)
            .ok_or(io::ErrorKind::InvalidData)?;
        match short(answer, 4) {
            Some(ERROR | DONE) => {
                let code = number(message, 0).unwrap_or_default().cast_signed();
                return match code {
                    0.. => Ok(true),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            Some(BY_FAMILY) => sockets.extend(socket(message)),
            _ => {}
        }
        answer = answer.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn socket(message: &[u8]) -> Option<AbstractSocket> {
    let inode = number(message, 4)?;
    let mut attributes = message.get(MESSAGE..)?;
    let (mut name, mut user) = (None, None);
    while let Some(length) = short(attributes, 0).map(usize::from) {
        let value = attributes.get(4..length)?;
        match short(attributes, 2)? {
            NAME => name = value.strip_prefix(&[0]),
            USER => user = number(value, 0),
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    Some(AbstractSocket {
        inode: inode.into(),
        name: String::from_utf8_lossy(name?).into_owned(),
        user,
    })
}

/// Netlink aligns to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + size_of::<u32>())?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + size_of::<u16>())?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn sockets_are_listed_with_inode_name_and_user_until_they_are_closed() {
        let prefix = format!("veni/table-test-{}/", std::process::id());
        let bind = |name: &str| {
            let name = format!("{prefix}{name}");
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            UnixDatagram::bind_addr(&address).expect("binds")
        };
        let (a, b) = (bind("a"), bind("b"));
        let found = named(&prefix).expect("lists");
        let names: Vec<&str> = found.iter().map(|one| &one.name[prefix.len()..]).collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&"a") && names.contains(&"b"), "{names:?}");
        let user = rustix::process::geteuid().as_raw();
        assert!(found.iter().all(|one| one.user == Some(user)), "{found:?}");
        let inode = rustix::fs::fstat(&a).expect("fstat").st_ino;
        assert!(found.iter().any(|one| one.inode == inode));
        drop((a, b));
        assert_eq!(named(&prefix).expect("lists"), []);
    }

    #[test]
    fn an_answer_that_is_cut_or_refuses_is_an_error() {
        let mut refusal = Vec::new();
        refusal.extend(20_u32.to_ne_bytes());
        refusal.extend(ERROR.to_ne_bytes());
        refusal.extend([0; 10]);
        refusal.extend((-2_i32).to_ne_bytes());
        let error = read(&refusal, &mut Vec::new()).expect_err("is refused");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(read(&refusal[..18], &mut Vec::new()).is_err());
    }
}
