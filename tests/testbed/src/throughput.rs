//! How much of a stream arrives in a second, by sockets of this process inside namespaces.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use veni_cloudlab::enter;

use crate::PATIENCE;

/// Payload of a datagram that fits into an Ethernet frame of 1500 bytes with IPv4.
const DATAGRAM: usize = 1472;

/// How a stream is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// By TCP, as fast as it goes.
    Tcp,
    /// By datagrams of 1,472 bytes, this many bits a second.
    Udp(u64),
}

/// Bits of payload a second that arrive, from the first byte on, for so long.
///
/// # Panics
/// When a socket fails, or nothing arrives.
pub async fn measure(
    from: &Path,
    (to, address): (&Path, SocketAddr),
    protocol: Protocol,
    duration: Duration,
) -> f64 {
    let measured = match protocol {
        Protocol::Tcp => tcp(from, (to, address), duration).await,
        Protocol::Udp(rate) => udp(from, (to, address), rate, duration).await,
    };
    let bytes = measured.expect("a stream between two namespaces");
    bytes as f64 * 8.0 / duration.as_secs_f64()
}

async fn tcp(
    from: &Path,
    (to, address): (&Path, SocketAddr),
    duration: Duration,
) -> io::Result<u64> {
    let listener = enter(to, move || TcpListener::bind(address)).await?;
    let address = listener.local_addr()?;
    let sender = enter(from, move || TcpStream::connect(address)).await?;
    sender.set_write_timeout(Some(PATIENCE))?;
    let receiver = listener.accept()?.0;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let sending = sending(move || (&sender).write(&[0; 128 * 1024]).map(|_| Duration::ZERO));
    let mut buffer = vec![0; 256 * 1024];
    let counted = counting(duration, move || (&receiver).read(&mut buffer)).await;
    sending.end();
    counted
}

async fn udp(
    from: &Path,
    (to, address): (&Path, SocketAddr),
    rate: u64,
    duration: Duration,
) -> io::Result<u64> {
    let receiver = enter(to, move || UdpSocket::bind(address)).await?;
    // What this thread is too late for must not be missing.
    let _smaller = rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 16 << 20);
    receiver.set_read_timeout(Some(PATIENCE))?;
    let address = receiver.local_addr()?;
    let sender = enter(from, move || {
        let socket = UdpSocket::bind((unspecified(address), 0))?;
        socket.connect(address)?;
        Ok(socket)
    })
    .await?;
    let (begun, mut sent) = (Instant::now(), 0);
    let sending = sending(move || {
        let due = begun.elapsed().as_secs_f64() * rate as f64 / 8.0;
        if sent as f64 > due {
            return Ok(Duration::from_micros(200));
        }
        sent += match sender.send(&[0; DATAGRAM]) {
            // A queue that is full drops what is sent; that is what is measured.
            Err(error) if error.raw_os_error() == Some(105) => DATAGRAM,
            other => other?,
        };
        Ok(Duration::ZERO)
    });
    let mut buffer = vec![0; 2 * DATAGRAM];
    let counted = counting(duration, move || receiver.recv(&mut buffer)).await;
    sending.end();
    counted
}

fn unspecified(of: SocketAddr) -> std::net::IpAddr {
    match of {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Counts bytes from the first one on.
async fn counting(
    duration: Duration,
    mut receive: impl FnMut() -> io::Result<usize> + Send + 'static,
) -> io::Result<u64> {
    let counting = tokio::task::spawn_blocking(move || {
        let mut all = 0;
        let mut end = None;
        loop {
            let received = match receive() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            };
            let now = Instant::now();
            if *end.get_or_insert(now + duration) < now || received == 0 {
                return Ok(all);
            }
            all += received as u64;
        }
    });
    counting
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A thread that sends until it is ended, or until it cannot.
struct Sending(Arc<AtomicBool>);

impl Sending {
    fn end(self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `send` answers for how long to pause.
fn sending(mut send: impl FnMut() -> io::Result<Duration> + Send + 'static) -> Sending {
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    std::thread::spawn(move || {
        while !seen.load(Ordering::Relaxed) {
            match send() {
                Ok(pause) if pause.is_zero() => {}
                Ok(pause) => std::thread::sleep(pause),
                Err(_) => return,
            }
        }
    });
    Sending(ended)
}
