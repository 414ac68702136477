//! The claim on the node: one daemon per network namespace, whatever its run
//! folder. Only a claim of root's counts, for anybody may bind an abstract socket.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::holder;
use super::socket_table::{AbstractSocket, named};
use super::{RunDirError, refused};

/// What daemons bind. One whose name is taken by somebody who is not root binds
/// a name below it.
const NAME: &str = "veni/ipamd";

/// The claim on a node: held until this is dropped or the process dies.
#[derive(Debug)]
pub struct NodeClaim {
    _socket: UnixDatagram,
}

impl NodeClaim {
    /// Claims the network namespace that the process runs in. Abstract sockets
    /// belong to a network namespace (unix(7)), so the name is free once per node.
    ///
    /// # Errors
    /// Another daemon has it.
    pub fn try_new() -> Result<Self, RunDirError> {
        Self::claim(NAME)
    }

    pub(super) fn claim(name: &str) -> Result<Self, RunDirError> {
        let socket = match bind(name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                refuse_beside_others(name, None)?;
                bind(&format!("{name}/{:016x}", rand::random::<u64>()))
            }
            bound => bound,
        };
        let socket = socket.map_err(refused("claim", "the node".as_ref()))?;
        let own = rustix::fs::fstat(&socket).map_err(io::Error::from);
        let own = own.map_err(refused("look at", "the node's claim".as_ref()))?;
        // One who has bound another name looks after that, too: of two at least one
        // sees the other.
        refuse_beside_others(name, Some(own.st_ino))?;
        Ok(Self { _socket: socket })
    }
}

fn bind(name: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Looks for claims besides our own, and says which do not count.
fn refuse_beside_others(name: &str, own: Option<u64>) -> Result<(), RunDirError> {
    let taken = |holder| Err(RunDirError::NodeTaken { holder });
    let others = match (named(name), own) {
        (Ok(others), _) => others,
        // The name was free, and nobody can be seen: as good as it gets.
        (Err(_), Some(_)) => return Ok(()),
        (Err(error), None) => {
            return taken(format!(
                "or whoever else holds the abstract socket @{name}: the kernel does not tell its \
                 user: {error}"
            ));
        }
    };
    let below = format!("{name}/");
    let claims = others.iter().filter(|other| {
        (other.name == name || other.name.starts_with(&below)) && Some(other.inode) != own
    });
    let mut ignored = Vec::new();
    for other in claims {
        if counts(other) {
            return taken(holder::describe(other.inode));
        }
        ignored.push(other);
    }
    // One line, however many names somebody holds: to find a holder takes a walk of all
    // processes, and many such lines would hold up the start.
    if let (Some(_), Some(first)) = (own, ignored.first()) {
        let holder = holder::describe(first.inode);
        tracing::warn!(
            socket = format!("@{}", first.name),
            user = first.user,
            holder,
            names = ignored.len(),
            "somebody who is not root holds a name by which daemons of one node find each \
             other: it is ignored; end that process"
        );
    }
    Ok(())
}

/// Who is not known to be another user may be a daemon.
fn counts(socket: &AbstractSocket) -> bool {
    let own = rustix::process::geteuid().as_raw();
    socket.user.is_none_or(|user| user == 0 || user == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(test: &str) -> String {
        format!("veni/test-{test}-{}", std::process::id())
    }

    #[test]
    fn a_node_is_claimed_once_whatever_the_run_folder() {
        let name = name("once");
        let first = NodeClaim::claim(&name).expect("nobody else has it");
        let error = NodeClaim::claim(&name).expect_err("must be refused");
        let process = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        assert!(error.to_string().contains("one daemon per node"), "{error}");
        drop(first);
        NodeClaim::claim(&name).expect("free again");
    }

    #[test]
    fn a_daemon_that_had_to_take_another_name_is_found_when_the_first_name_is_free_again() {
        let name = name("below");
        let beside = bind(&format!("{name}/0123456789abcdef")).expect("binds");
        let error = NodeClaim::claim(&name).expect_err("must be refused");
        assert!(error.to_string().contains("another ipamd"), "{error}");
        drop(beside);
        let alike = bind(&format!("{name}-of-another-kind")).expect("binds");
        NodeClaim::claim(&name).expect("a name that only begins alike is no claim");
        drop(alike);
    }

    #[test]
    fn only_root_or_ourselves_and_whoever_is_not_known_count() {
        let made_by = |user| AbstractSocket {
            inode: 1,
            name: NAME.to_owned(),
            user,
        };
        let own = rustix::process::geteuid().as_raw();
        for user in [Some(0), Some(own), None] {
            assert!(counts(&made_by(user)), "{user:?}");
        }
        assert!(!counts(&made_by(Some(own + 65534))));
    }
}
