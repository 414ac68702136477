//! What each of the kernel's refusals means to us. No other file compares errnos.

use std::io;

use rustix::io::Errno;

use crate::KernelError;

/// One request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    errno: Errno,
    /// The kernel's own words (extended acknowledgement), when it gave some.
    explanation: Option<String>,
    /// Where the attribute begins in the request that the kernel points at, when it does.
    attribute: Option<usize>,
}

impl Refusal {
    pub(crate) fn new(errno: Errno, explanation: Option<String>) -> Self {
        Self {
            errno,
            explanation,
            attribute: None,
        }
    }

    /// The kernel points at the attribute at this offset of the request.
    pub(crate) fn pointing_at(self, attribute: Option<usize>) -> Self {
        Self { attribute, ..self }
    }

    /// Offset of the attribute, from the beginning of the request, that the kernel
    /// points at.
    pub(crate) fn attribute_at(&self) -> Option<usize> {
        self.attribute
    }

    /// A name, address, route or rule is there already.
    pub(crate) fn exists(&self) -> bool {
        self.errno == Errno::EXIST
    }

    /// What was to be removed or changed is not there: a link (`ENODEV`), a route
    /// (`ESRCH`), a rule (`ENOENT`), an address (`EADDRNOTAVAIL`).
    pub(crate) fn gone(&self) -> bool {
        matches!(
            self.errno,
            Errno::NODEV | Errno::SRCH | Errno::NOENT | Errno::ADDRNOTAVAIL
        )
    }

    /// A route's link is gone or down, or its next hop cannot be reached.
    pub(crate) fn no_way(&self) -> bool {
        matches!(
            self.errno,
            Errno::NODEV | Errno::NETDOWN | Errno::NETUNREACH | Errno::HOSTUNREACH
        )
    }

    /// The kernel has no such address family, or has it switched off.
    pub(crate) fn no_such_family(&self) -> bool {
        matches!(self.errno, Errno::AFNOSUPPORT | Errno::OPNOTSUPP)
    }

    /// The kernel does not know the request.
    pub(crate) fn invalid(&self) -> bool {
        self.errno == Errno::INVAL
    }

    /// An IPv6 address was refused because `disable_ipv6` is set for the link.
    pub(crate) fn family_disabled(&self) -> bool {
        self.errno == Errno::ACCESS
    }

    /// Gives the refusal the operation and object it belongs to.
    pub(crate) fn during(self, operation: impl Into<String>) -> KernelError {
        refused(operation, self.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::new(Errno::from_io_error(&error).unwrap_or(Errno::IO), None)
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let plain = Self::from(refusal.errno);
        match refusal.explanation {
            None => plain,
            Some(text) => Self::new(plain.kind(), format!("{plain}: {text}")),
        }
    }
}

/// A refusal with its operation and object.
pub(crate) fn refused(operation: impl Into<String>, reason: io::Error) -> KernelError {
    KernelError::Refused {
        operation: operation.into(),
        reason,
    }
}

/// `setns` takes a descriptor of a live namespace or, after the bind mount was
/// taken away before the runtime opened it, of an ordinary file (`EINVAL`).
pub(crate) fn entering(errno: Errno) -> KernelError {
    match errno {
        Errno::INVAL | Errno::BADF | Errno::NODEV | Errno::SRCH => KernelError::NamespaceGone,
        other => refused("enter the pod's network namespace", other.into()),
    }
}

/// A setting's file is missing: its link is gone, or the kernel lacks the family.
pub(crate) fn no_such_setting(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
