//! The ioctl by which drivers tell their statistics.
#![expect(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr;

use rustix::ioctl::{Opcode, Updater, ioctl};

/// include/uapi/linux/sockios.h.
const SIOCETHTOOL: Opcode = 0x8946;
/// IFNAMSIZ, with the byte that ends the name.
const NAME: usize = 16;

/// struct ifreq (netdevice(7)): a link's name, and what is asked of it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    data: *mut c_void,
    /// The rest of the kernel's union, which is as long as its longest member.
    rest: [u8; 16],
}

/// Has the kernel carry out the ethtool command that `buffer` begins with, and write its
/// answer there.
///
/// The kernel does not know how long `buffer` is. For the commands of this module it
/// writes a header and so many fields as the driver has at that moment, so `buffer` must
/// be longer than that by far: a driver may have more of them than it had a moment ago.
///
/// # Errors
/// The name is too long for a link, or what the kernel says: ENODEV for no such link,
/// EOPNOTSUPP for a driver that has no such command.
pub(super) fn ethtool<T>(socket: impl AsFd, link: &str, buffer: &mut [T]) -> io::Result<()> {
    let mut name = [0; NAME];
    let bytes = link.as_bytes();
    let ends = bytes.len() < NAME && !bytes.contains(&0);
    let place = name.get_mut(..bytes.len()).filter(|_| ends);
    place
        .ok_or(io::ErrorKind::InvalidInput)?
        .copy_from_slice(bytes);
    let mut request = InterfaceRequest {
        name,
        data: ptr::from_mut(buffer).cast(),
        rest: [0; 16],
    };
    // SAFETY: SIOCETHTOOL takes a `struct ifreq`, which `InterfaceRequest` repeats field by
    // field, with a name that ends in a zero. `buffer` is live and writable, and longer
    // than what the command writes, as the caller promises.
    unsafe {
        let update = Updater::<SIOCETHTOOL, InterfaceRequest>::new(&mut request);
        ioctl(socket, update)?;
    }
    Ok(())
}
