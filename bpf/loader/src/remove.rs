//! Takes enforcement away.

use std::path::Path;

use crate::netlink::Netlink;
use crate::tc::{self, Place};
use crate::{Error, filesystem};

/// Takes all of it away: the programs from the blocks and from these uplinks, these pods'
/// links out of the blocks, the link `holder`, and the pins. Pods' traffic is judged by
/// nobody afterwards. Success also where nothing is there.
///
/// # Errors
/// Something could not be removed; calling again goes on.
pub fn remove(
    pin_dir: &Path,
    blocks: (u32, u32),
    holder: &str,
    uplinks: &[u32],
    host_indexes: &[u32],
) -> Result<(), Error> {
    let mut netlink = Netlink::try_new()?;
    for index in uplinks {
        tc::take(&mut netlink, Place::Egress(*index))?;
    }
    for block in [blocks.0, blocks.1] {
        tc::take(&mut netlink, Place::Block(block))?;
    }
    for index in host_indexes {
        if tc::joined(&mut netlink, *index, blocks)? == tc::Joined::Blocks {
            tc::leave(&mut netlink, *index)?;
        }
    }
    tc::remove_link(&mut netlink, holder)?;
    filesystem::remove(pin_dir)
}
