//! Sends ICMP echo requests from inside a namespace to many addresses at once, without
//! executing `ping`.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
    socket_with,
};
use tokio_util::sync::CancellationToken;

use crate::namespace::enter;

/// Time after which an unanswered request is sent again.
const REPEAT: Duration = Duration::from_millis(200);
/// Shortest timeout of a socket: a timeout of 0 means to wait for ever.
const SHORTEST: Duration = Duration::from_millis(1);
/// The next identifier. It tells the answers to one process's sockets apart, because a
/// raw socket receives all of them.
static IDENTIFIER: AtomicU16 = AtomicU16::new(1);

/// Pings all addresses at once from inside a namespace, repeating what is not
/// answered until `patience` is over. For each, in order, the round trip of the
/// request that was answered, or `None`.
///
/// # Errors
/// The system's: no such namespace, no privilege for raw sockets. An address
/// that cannot be reached is not an error.
pub async fn ping(
    namespace: &Path,
    targets: Vec<IpAddr>,
    patience: Duration,
) -> io::Result<Vec<Option<Duration>>> {
    enter(namespace, move || {
        let mut answers = vec![None; targets.len()];
        for ipv4 in [true, false] {
            let some: Vec<(usize, IpAddr)> = targets
                .iter()
                .copied()
                .enumerate()
                .filter(|(_, target)| target.is_ipv4() == ipv4)
                .collect();
            if !some.is_empty() {
                ping_family(ipv4, &some, patience, &mut answers)?;
            }
        }
        Ok(answers)
    })
    .await
}

/// What became of a stream of pings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PingStream {
    /// Requests sent.
    pub sent: u32,
    /// Requests answered.
    pub answered: u32,
}

/// Pings one address from inside a namespace at an interval, each request once,
/// until told to stop. Then waits up to `patience` for the answers that are missing.
///
/// # Errors
/// The system's: no such namespace, no privilege for raw sockets.
pub async fn ping_until(
    namespace: &Path,
    target: IpAddr,
    interval: Duration,
    patience: Duration,
    stop: CancellationToken,
) -> io::Result<PingStream> {
    enter(namespace, move || {
        let socket = open(target.is_ipv4())?;
        let identifier = identifier();
        let mut stream = PingStream::default();
        let mut next = Instant::now();
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if deadline.is_none() && stop.is_cancelled() {
                deadline = Some(now + patience);
            }
            let until = match deadline {
                Some(deadline) if now >= deadline || stream.answered >= stream.sent => {
                    return Ok(stream);
                }
                Some(deadline) => deadline,
                None => {
                    if now >= next {
                        let number = u16::try_from(stream.sent % 0x1_0000).unwrap_or_default();
                        let request = request(target.is_ipv4(), identifier, number);
                        let to = SocketAddr::new(target, 0);
                        // Refused here (no route) counts as not answered.
                        let _refused = sendto(&socket, &request, SendFlags::empty(), &to);
                        stream.sent += 1;
                        next += interval;
                    }
                    next
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            set_socket_timeout(&socket, Timeout::Recv, Some(left.max(SHORTEST)))?;
            let heard = receive(&socket, target.is_ipv4(), RecvFlags::empty());
            if heard.is_some_and(|heard| heard.number_for(identifier).is_some()) {
                stream.answered += 1;
            }
        }
    })
    .await
}

fn ping_family(
    ipv4: bool,
    targets: &[(usize, IpAddr)],
    patience: Duration,
    answers: &mut [Option<Duration>],
) -> io::Result<()> {
    let socket = open(ipv4)?;
    let identifier = identifier();
    let deadline = Instant::now() + patience;
    let mut sent = vec![Instant::now(); answers.len()];
    loop {
        let waiting: Vec<(usize, IpAddr)> = targets
            .iter()
            .copied()
            .filter(|(index, _)| answers[*index].is_none())
            .collect();
        if waiting.is_empty() || Instant::now() >= deadline {
            return Ok(());
        }
        let mut take = |number: u16, sent: &[Instant]| {
            if let Some(answer @ None) = answers.get_mut(usize::from(number)) {
                *answer = Some(sent[usize::from(number)].elapsed());
                return 1;
            }
            0
        };
        let mut missing = waiting.len();
        for (index, target) in &waiting {
            let number = u16::try_from(*index).unwrap_or(u16::MAX);
            let request = request(ipv4, identifier, number);
            let to = SocketAddr::new(*target, 0);
            sent[*index] = Instant::now();
            // Refused here (no route) counts as not answered.
            let _refused = sendto(&socket, &request, SendFlags::empty(), &to);
            // Read answers that have arrived at once: their times are what is measured.
            while let Some(heard) = receive(&socket, ipv4, RecvFlags::DONTWAIT) {
                missing -= heard
                    .number_for(identifier)
                    .map_or(0, |number| take(number, &sent));
            }
        }
        let repeat = Instant::now() + REPEAT;
        while missing > 0 {
            let left = repeat.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            set_socket_timeout(&socket, Timeout::Recv, Some(left.max(SHORTEST)))?;
            if let Some(heard) = receive(&socket, ipv4, RecvFlags::empty()) {
                missing -= heard
                    .number_for(identifier)
                    .map_or(0, |number| take(number, &sent));
            }
        }
    }
}

fn open(ipv4: bool) -> io::Result<OwnedFd> {
    let (family, protocol) = if ipv4 {
        (AddressFamily::INET, ipproto::ICMP)
    } else {
        (AddressFamily::INET6, ipproto::ICMPV6)
    };
    Ok(socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )?)
}

fn identifier() -> u16 {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    u16::from_be_bytes([high, low]).wrapping_add(IDENTIFIER.fetch_add(1, Ordering::Relaxed))
}

/// An echo request (RFC 792, RFC 4443); the kernel fills the checksum of IPv6 in.
fn request(ipv4: bool, identifier: u16, number: u16) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[0] = if ipv4 { 8 } else { 128 };
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    packet[8..].copy_from_slice(b"veni lab");
    if ipv4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The internet checksum (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// A message that arrived: identifier and number of an echo reply, or something else.
struct Heard(Option<(u16, u16)>);

impl Heard {
    fn number_for(&self, identifier: u16) -> Option<u16> {
        self.0
            .filter(|(whose, _)| *whose == identifier)
            .map(|(_, number)| number)
    }
}

/// The next message, whoever it is for; `None` when there is none (in time).
fn receive(socket: &OwnedFd, ipv4: bool, flags: RecvFlags) -> Option<Heard> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
    let ((packet, _), _, _) = recvfrom(socket, &mut buffer, flags).ok()?;
    Some(Heard(parse(packet, ipv4)))
}

fn parse(packet: &[u8], ipv4: bool) -> Option<(u16, u16)> {
    // Raw IPv4 sockets get the header too, raw IPv6 ones do not.
    let header = if ipv4 {
        usize::from(packet.first()? & 0x0f) * 4
    } else {
        0
    };
    let answer = if ipv4 { 0 } else { 129 };
    match *packet.get(header..)? {
        [kind, _, _, _, a, b, c, d, ..] if kind == answer => {
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_s_checksum_makes_the_whole_sum_up_to_nothing() {
        assert_eq!(checksum(&request(true, 0x1234, 7)), 0);
    }
}
