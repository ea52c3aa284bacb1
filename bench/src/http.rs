//! HTTP/1.1 over one kept connection, as little as the API needs: the load generator must not be what is measured.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The product answers or gives up within 30 s; beyond that nobody will.
const ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_mins(1);
/// No head of an answer of this API is near it.
const HEAD_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    pub port: u16,
    pub key: String,
    /// For a system admin's key: the tenant to act for.
    pub tenant: Option<String>,
}

impl Caller {
    /// The bytes of a request; they can be sent any number of times.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let tenant = self.tenant.as_ref();
        let tenant = tenant.map_or_else(String::new, |it| format!("x-tenant-id: {it}\r\n"));
        format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n{tenant}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len(),
        )
        .into_bytes()
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let mut connection = Connection::open(self.port).await?;
        connection.send(&self.request(method, path, body)).await
    }

    /// The same; any other answer than `status` is an error.
    pub async fn expect(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<serde_json::Value> {
        let answer = self.ask(method, path, body).await?;
        if answer.status != status {
            bail!(
                "{method} {path} answered {}: {}",
                answer.status,
                answer.text()
            );
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(8 * 1024);
        Ok(Self { stream, buffer })
    }

    pub async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let exchange = async {
            self.stream.write_all(request).await?;
            self.answer().await
        };
        timeout(ANSWER_LIMIT, exchange)
            .await
            .context("the API did not answer in time")?
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        self.buffer.clear();
        let (status, start, length) = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > HEAD_MAX {
                bail!("the head of an answer does not end");
            }
            self.more().await?;
        };
        while self.buffer.len() < start + length {
            self.more().await?;
        }
        let body = self.buffer[start..start + length].to_vec();
        Ok(Answer { status, body })
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the API closed the connection");
        }
        Ok(())
    }
}

/// Status, where the body starts, and its length; `None` while the head is not complete.
fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).context("the head of an answer is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .context("an answer without a status")?;
    let mut length = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().context("a length that is no number")?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("an answer in chunks, which nothing here asks for");
        }
    }
    Ok(Some((status, end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_once_they_are_complete() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nx: y\r\n\r\n{}";
        assert_eq!(parse_head(text).unwrap(), Some((201, 50, 12)));
        assert_eq!(parse_head(&text[..30]).unwrap(), None);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_who_asks() {
        let caller = Caller {
            port: 1,
            key: "orc_k".to_owned(),
            tenant: Some("acme".to_owned()),
        };
        let text = String::from_utf8(caller.request("POST", "/x", "{}")).unwrap();
        assert!(
            text.starts_with("POST /x HTTP/1.1\r\n") && text.ends_with("\r\n\r\n{}"),
            "{text}"
        );
        assert!(text.contains("x-tenant-id: acme\r\n") && text.contains("content-length: 2\r\n"));
    }
}
