//! Servers that tell a caller by which address they see it and then return what it says,
//! and connections to them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use veni_testbed::PATIENCE;
use veni_testbed::cloudlab::enter;

/// The servers' port.
pub(super) const PORT: u16 = 80;
/// Pause between two words of a connection.
const INTERVAL: Duration = Duration::from_millis(20);

/// Serves in a namespace that has this address, for as long as the test runs.
pub(super) async fn serve(namespace: &Path, address: IpAddr) {
    serve_datagrams(namespace, address).await;
    let listener = enter(namespace, || TcpListener::bind(("::", PORT))).await;
    let listener = listener.expect("the server can listen");
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            thread::spawn(move || {
                // A caller may go at any time.
                let _gone = writeln!(stream, "{}", from.ip().to_canonical()).and_then(|()| {
                    let mut reader = stream.try_clone()?;
                    io::copy(&mut reader, &mut stream)
                });
            });
        }
    });
}

/// Tells who sends a datagram by which address it is seen.
async fn serve_datagrams(namespace: &Path, address: IpAddr) {
    let socket = enter(namespace, move || UdpSocket::bind((address, PORT))).await;
    let socket = socket.expect("the server can listen");
    thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 16]) {
            let seen = from.ip().to_canonical().to_string();
            let _gone = socket.send_to(seen.as_bytes(), from);
        }
    });
}

/// Sends a datagram from a port of its own. Returns whom the server saw.
pub(super) async fn datagram(from: &Path, to: SocketAddr) -> io::Result<IpAddr> {
    let own: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let answered = enter(from, move || {
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(to)?;
        socket.send(b"who am I?")?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer)?;
        let seen = String::from_utf8_lossy(&answer[..length]).into_owned();
        seen.parse().map_err(io::Error::other)
    });
    answered.await
}

/// An open connection.
pub(super) struct Connection {
    name: String,
    stream: TcpStream,
    /// Whom it called.
    pub(super) to: SocketAddr,
    /// Whom the server sees.
    pub(super) seen: IpAddr,
}

impl Connection {
    pub(super) async fn open(
        name: &str,
        from: &Path,
        to: SocketAddr,
        patience: Duration,
    ) -> io::Result<Self> {
        let name = name.to_owned();
        let opened = enter(from, move || {
            let mut stream = TcpStream::connect_timeout(&to, patience)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_nodelay(true)?;
            let (mut line, mut byte) = (String::new(), [0]);
            while byte != *b"\n" {
                stream.read_exact(&mut byte)?;
                line.push(char::from(byte[0]));
            }
            stream.set_read_timeout(Some(PATIENCE))?;
            let seen = line.trim().parse().map_err(io::Error::other)?;
            Ok(Self {
                name,
                stream,
                to,
                seen,
            })
        });
        opened.await
    }

    fn talk_once(&mut self) -> io::Result<()> {
        let (word, mut heard) = (*b"word", [0; 4]);
        self.stream.write_all(&word)?;
        self.stream.read_exact(&mut heard)?;
        match heard == word {
            true => Ok(()),
            false => Err(io::Error::other("another word came back")),
        }
    }

    /// Says one word after the other until it is told to stop.
    fn talk(&mut self, stop: &AtomicBool) -> io::Result<()> {
        loop {
            self.talk_once()?;
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::sleep(INTERVAL);
        }
    }
}

/// Lets connections talk while something happens. None may break.
pub(super) async fn talk_while(connections: &mut Vec<Connection>, what: impl Future<Output = ()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let talk = |mut connection: Connection| {
        let stop = Arc::clone(&stop);
        let talks = move || {
            let talked = connection.talk(&stop);
            talked.unwrap_or_else(|error| panic!("{} broke: {error}", connection.name));
            connection
        };
        tokio::task::spawn_blocking(talks)
    };
    let talking: Vec<_> = connections.drain(..).map(talk).collect();
    what.await;
    stop.store(true, Ordering::Relaxed);
    for connection in talking {
        connections.push(connection.await.expect("the connection holds"));
    }
}
