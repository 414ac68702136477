//! Just enough HTTP to speak to the hook's control endpoints: one request to a
//! connection in HTTP 1.0, so an answer ends with its connection and is never
//! sent in chunks.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the server may take before it counts as silent.
const DEADLINE: Duration = Duration::from_secs(30);

/// The status and the JSON of an answer.
pub(super) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), Error> {
    let asked = timeout(DEADLINE, exchange(address, method, path, body)).await;
    parse(&asked.map_err(|_| Error::new(ErrorKind::TimedOut, "no answer in 30 s"))??)
}

async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Vec<u8>, Error> {
    let mut stream = TcpStream::connect(address).await?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Parses an answer. A body that is not JSON becomes a text.
fn parse(answer: &[u8]) -> Result<(u16, Value), Error> {
    let answer = String::from_utf8_lossy(answer);
    let parts = answer.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or_else(|| bad("no whole answer"))?;
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.ok_or_else(|| bad("an answer that is not HTTP"))?;
    if let Some(length) = content_length(head)
        && body.len() < length
    {
        return Err(bad("half an answer"));
    }
    let json = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Ok((status, json))
}

fn content_length(head: &str) -> Option<usize> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    value.trim().parse().ok()
}

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_json() {
        let answer = b"HTTP/1.0 400 BAD\r\nContent-Length: 9\r\nX: y\r\n\r\n{\"a\": 1}\n";
        assert_eq!(parse(answer).unwrap(), (400, json!({"a": 1})));
        let text = b"HTTP/1.0 502 BAD\r\n\r\nsorry";
        assert_eq!(parse(text).unwrap(), (502, json!("sorry")));
    }

    #[test]
    fn half_an_answer_is_none() {
        let half = b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n{\"a\"";
        assert!(parse(half).is_err());
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_err());
        assert!(parse(b"").is_err());
        assert!(parse(b"hello\r\n\r\n").is_err());
    }
}
