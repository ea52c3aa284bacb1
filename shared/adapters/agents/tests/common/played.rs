//! An agent that is played, where a story is about what may be answered.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Status, further headers, body.
pub type Reply = (u16, &'static str, String);

/// An agent that answers what a story says, by the number of the call and its first line.
pub struct Played {
    pub url: String,
    pub calls: Arc<Mutex<Vec<String>>>,
}

impl Played {
    pub async fn start(script: impl Fn(usize, &str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let call = read_call(&mut stream).await;
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(call.clone());
                    kept.len()
                };
                let (status, headers, body) = script(number, &call);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, calls }
    }

    /// `POST`, `GET`, ... in order.
    pub fn methods(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let first = |call: &String| call.split(' ').next().unwrap_or_default().to_owned();
        calls.iter().map(first).collect()
    }
}

/// The whole call; what is played has bodies with a length.
async fn read_call(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}
