//! Measures how long a packet takes to a pod and back.
//!
//! One thread holds both sockets and answers itself. Over veth pairs, the kernel delivers a
//! packet within the call that sends it. So the figure is the packet's way alone (rules,
//! routes, filters, twice), and no thread has to wake up.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::figures::Samples;

/// Payload, bytes.
const PAYLOAD: [u8; 64] = [7; 64];
/// Round trips of the warm-up, which are not counted.
const WARM_UP: usize = 200;

/// An address in a namespace; `None` is the node's own.
#[derive(Debug)]
pub(crate) struct Place {
    namespace: Option<PathBuf>,
    address: Ipv4Addr,
}

impl Place {
    pub(crate) fn new(namespace: Option<&Path>, address: Ipv4Addr) -> Self {
        Self {
            namespace: namespace.map(Path::to_owned),
            address,
        }
    }

    /// A socket there, opened by a thread that ends at once.
    fn socket(&self) -> anyhow::Result<UdpSocket> {
        thread::scope(|scope| {
            let opened = scope.spawn(|| {
                if let Some(namespace) = &self.namespace {
                    let file = File::open(namespace)?;
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                }
                let socket = UdpSocket::bind((self.address, 0))?;
                socket.set_read_timeout(Some(Duration::from_secs(2)))?;
                anyhow::Ok(socket)
            });
            opened
                .join()
                .map_err(|_| anyhow!("the thread for a socket has died"))?
        })
        .with_context(|| format!("failed to open a socket at {}", self.address))
    }
}

/// Two sockets that talk to each other.
#[derive(Debug)]
pub(crate) struct RoundTrips {
    asking: UdpSocket,
    answering: UdpSocket,
}

impl RoundTrips {
    pub(crate) fn try_new(asking: &Place, answering: &Place) -> anyhow::Result<Self> {
        let (asking, answering) = (asking.socket()?, answering.socket()?);
        asking.connect(answering.local_addr()?)?;
        Ok(Self { asking, answering })
    }

    /// Times round trips after a warm-up.
    pub(crate) fn go(&self, count: usize) -> anyhow::Result<Samples> {
        let mut samples = Samples::default();
        let mut buffer = [0; PAYLOAD.len() + 1];
        for number in 0..WARM_UP.min(count) + count {
            let begun = Instant::now();
            self.asking.send(&PAYLOAD)?;
            let (length, from) = self
                .answering
                .recv_from(&mut buffer)
                .context("a packet to a pod was lost")?;
            self.answering.send_to(&buffer[..length], from)?;
            let length = self
                .asking
                .recv(&mut buffer)
                .context("a pod's answer was lost")?;
            let took = begun.elapsed();
            ensure!(
                buffer[..length] == PAYLOAD,
                "a packet was changed on its way"
            );
            if number >= WARM_UP.min(count) {
                samples.record(u64::try_from(took.as_nanos())?);
            }
        }
        Ok(samples)
    }
}
