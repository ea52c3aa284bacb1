//! A network that can be broken, between an adapter and its real service.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Forwards connections to a service until told otherwise.
pub struct Proxy {
    address: SocketAddr,
    target: String,
    line: Arc<watch::Sender<Line>>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Connections of this generation work.
    Up(u64),
    /// Connections are closed as soon as they are made.
    Down,
}

impl Proxy {
    /// In front of the service that `url` names; it must name host and port.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = authority(url).to_owned();
        let line = Arc::new(watch::Sender::new(Line::Up(0)));
        let task = tokio::spawn(accept(listener, target.clone(), Arc::clone(&line)));
        Self {
            address,
            target,
            line,
            task: task.abort_handle(),
        }
    }

    /// `url` with this proxy in place of the service.
    pub fn url(&self, url: &str) -> String {
        url.replacen(&self.target, &self.address.to_string(), 1)
    }

    /// Breaks all connections; new ones work.
    pub fn cut(&self) {
        self.line.send_modify(|line| {
            *line = match *line {
                Line::Up(generation) => Line::Up(generation + 1),
                Line::Down => Line::Up(0),
            }
        });
    }

    /// Breaks all connections and lets no new ones through.
    pub fn take_down(&self) {
        self.line.send_replace(Line::Down);
    }

    /// Lets connections through again.
    pub fn bring_up(&self) {
        self.line.send_replace(Line::Up(0));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn authority(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme
        .split(['/', '?'])
        .next()
        .unwrap_or(after_scheme);
    authority.rsplit('@').next().unwrap_or(authority)
}

async fn accept(listener: TcpListener, target: String, line: Arc<watch::Sender<Line>>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut line = line.subscribe();
        if *line.borrow_and_update() == Line::Down {
            continue;
        }
        let target = target.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = forward(client, &target) => {}
                _ = line.changed() => {}
            }
        });
    }
}

async fn forward(mut client: TcpStream, target: &str) {
    if let Ok(mut service) = TcpStream::connect(target).await {
        // How it ends is for the two sides to see.
        let _ = copy_bidirectional(&mut client, &mut service).await;
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn the_authority_is_host_and_port() {
        for url in [
            "amqp://user:secret@host:1/%2f",
            "redis://host:1",
            "redis://:secret@host:1?protocol=resp3",
        ] {
            assert_eq!(authority(url), "host:1");
        }
    }
}
