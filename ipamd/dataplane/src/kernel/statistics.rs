//! What a link's driver counts by names of its own: what `ethtool -S` shows
//! (include/uapi/linux/ethtool.h). Reads only.
//!
//! ethtool's newer netlink interface has standard statistics alone; those with a driver's
//! own names are to be had by the ioctl.

mod sys;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// ETHTOOL_GSSET_INFO: how many names a set has.
const SET_LENGTH: u32 = 0x37;
/// ETHTOOL_GSTRINGS: the names of a set.
const NAMES: u32 = 0x1b;
/// ETHTOOL_GSTATS: the values of statistics.
const VALUES: u32 = 0x1d;
/// ETH_SS_STATS: the set of statistics.
const STATISTICS: u32 = 1;
/// ETH_GSTRING_LEN: bytes of a name, filled up with zeros.
const NAME: usize = 32;
/// Room beyond what the driver has told of: its queues, and with them its statistics, may
/// become more between two requests, and older kernels then write past what they were
/// given. Untouched, it costs no memory.
const SPARE: usize = 16_384;

/// One count of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistic {
    /// The driver's name of it.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// What the driver of a link of this thread's network namespace counts, in the driver's
/// order; nothing for a driver that counts nothing by names of its own, and for a link
/// that is not there.
///
/// The kernel holds the lock of all network configuration meanwhile, and a driver may ask
/// its device: this may take milliseconds, and longer on a device that is in trouble.
///
/// # Errors
/// What else the kernel refused.
pub fn link_statistics(link: &str) -> io::Result<Vec<Statistic>> {
    match read(link) {
        Err(error) if counts_nothing(&error) => Ok(Vec::new()),
        answer => answer,
    }
}

fn counts_nothing(error: &io::Error) -> bool {
    let nothing = [Errno::OPNOTSUPP, Errno::NODEV];
    Errno::from_io_error(error).is_some_and(|errno| nothing.contains(&errno))
}

fn read(link: &str) -> io::Result<Vec<Statistic>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    let count = count(&socket, link)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let names = names(&socket, link, count)?;
    let values = values(&socket, link, count)?;
    Ok(together(&names, &values))
}

/// struct ethtool_sset_info.
fn count(socket: &OwnedFd, link: &str) -> io::Result<usize> {
    let mask = 1_u64 << STATISTICS;
    let mut buffer = vec![0_u64; 8];
    buffer[0] = pair(SET_LENGTH, 0);
    buffer[1] = mask;
    sys::ethtool(socket, link, &mut buffer)?;
    // A set that the driver lacks is taken out of the mask.
    let has = buffer[1] & mask != 0;
    Ok(if has { first(buffer[2]) as usize } else { 0 })
}

/// struct ethtool_gstrings: three numbers, and the names.
fn names(socket: &OwnedFd, link: &str, count: usize) -> io::Result<Vec<u8>> {
    const HEADER: usize = 3;
    let mut buffer = vec![0_u32; HEADER + (count + SPARE) * NAME / size_of::<u32>()];
    buffer[0] = NAMES;
    buffer[1] = STATISTICS;
    buffer[2] = length(count)?;
    sys::ethtool(socket, link, &mut buffer)?;
    let words = buffer[2] as usize * NAME / size_of::<u32>();
    let written = buffer.iter().skip(HEADER).take(words);
    Ok(written.flat_map(|word| word.to_ne_bytes()).collect())
}

/// struct ethtool_stats: two numbers in the place of one, and the values.
fn values(socket: &OwnedFd, link: &str, count: usize) -> io::Result<Vec<u64>> {
    let mut buffer = vec![0_u64; 1 + count + SPARE];
    buffer[0] = pair(VALUES, length(count)?);
    sys::ethtool(socket, link, &mut buffer)?;
    let written = second(buffer[0]) as usize;
    Ok(buffer.into_iter().skip(1).take(written).collect())
}

/// Puts names and values together; nothing where they are not equally many, because the
/// driver's queues have changed in between.
fn together(names: &[u8], values: &[u64]) -> Vec<Statistic> {
    let (names, _) = names.as_chunks::<NAME>();
    if names.len() != values.len() {
        return Vec::new();
    }
    let both = names.iter().zip(values);
    both.map(|(name, value)| {
        let end = name.iter().position(|byte| *byte == 0);
        let name = name.get(..end.unwrap_or(NAME)).unwrap_or_default();
        Statistic {
            name: String::from_utf8_lossy(name).into_owned(),
            value: *value,
        }
    })
    .collect()
}

fn length(count: usize) -> io::Result<u32> {
    u32::try_from(count).map_err(io::Error::other)
}

/// Two numbers as they lie in memory one after the other.
fn pair(first: u32, second: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

fn first(pair: u64) -> u32 {
    let [a, b, c, d, ..] = pair.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

fn second(pair: u64) -> u32 {
    let [.., a, b, c, d] = pair.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ENA's driver fills a set of names, with a name of all 32 bytes at its end.
    fn set(names: &[&str]) -> Vec<u8> {
        let fields = names.iter().flat_map(|name| {
            let mut field = [0; NAME];
            field[..name.len()].copy_from_slice(name.as_bytes());
            field
        });
        fields.collect()
    }

    #[test]
    fn names_of_fixed_length_go_with_the_values_in_order() {
        let names = [
            "total_resets",
            "bw_in_allowance_exceeded",
            "conntrack_allowance_available",
            "queue_0_rx_a_name_of_32_bytes_00",
        ];
        let read = together(&set(&names), &[1, u64::MAX, 136_812, 4]);
        let read: Vec<(&str, u64)> = read
            .iter()
            .map(|one| (one.name.as_str(), one.value))
            .collect();
        let expected = [1, u64::MAX, 136_812, 4];
        assert_eq!(read, names.into_iter().zip(expected).collect::<Vec<_>>());
    }

    #[test]
    fn sets_of_different_lengths_are_not_put_together() {
        assert_eq!(together(&set(&["a", "b"]), &[1]), []);
        assert_eq!(together(&set(&["a"]), &[1, 2]), []);
        assert_eq!(together(&[], &[]), []);
    }

    #[test]
    fn two_numbers_in_the_place_of_one_are_read_as_they_were_written() {
        let both = pair(7, 9);
        assert_eq!((first(both), second(both)), (7, 9));
    }

    #[test]
    fn a_name_that_no_link_can_have_is_refused() {
        let long = "a".repeat(16);
        for name in [long.as_str(), "eth0\0x"] {
            let error = link_statistics(name).expect_err("no name of a link");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
