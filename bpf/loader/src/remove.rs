//! Takes enforcement away.

use crate::netlink::Netlink;
use crate::tc::{self, Place};
use crate::{Error, Settings, filesystem};

/// Whether there is anything to take away: pins, or the link that holds the blocks where the pins
/// are not to be seen from here.
///
/// # Errors
/// The kernel does not tell.
pub fn is_in_force(settings: &Settings) -> Result<bool, Error> {
    let holder = || tc::index_of(&mut Netlink::try_new()?, &settings.holder);
    Ok(settings.pin_dir.exists() || holder()?.is_some())
}

/// Takes all of it away: the programs from the blocks and from the links by which packets leave,
/// pods' links out of the blocks, the link that holds these, and the pins. Pods' traffic is judged
/// by nobody afterwards. Success also where nothing is there.
///
/// # Errors
/// Something could not be removed; calling again goes on.
pub fn remove(settings: &Settings) -> Result<(), Error> {
    let (mut netlink, blocks) = (Netlink::try_new()?, settings.block_numbers);
    let links = tc::all_links(&mut netlink)?;
    for block in [blocks.0, blocks.1] {
        tc::take(&mut netlink, Place::Block(block))?;
    }
    for index in links {
        // Where a link joins the blocks, their filters would be taken for its own.
        match tc::joined(&mut netlink, index, blocks)? {
            tc::Joined::Blocks => tc::leave(&mut netlink, index)?,
            _ => tc::take(&mut netlink, Place::Egress(index))?,
        }
    }
    tc::remove_link(&mut netlink, &settings.holder)?;
    filesystem::remove(&settings.pin_dir)
}
