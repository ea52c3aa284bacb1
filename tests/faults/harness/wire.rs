//! A network that can be broken between one process and one server: cut, refused, silent, slow, or one that swallows
//! the answer to a commit, which is the hardest case: the server has done it, and the client does not know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

const CHUNK_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are closed as soon as they are made.
    Refused,
    /// Connections stay, and nothing comes through.
    Silent,
    /// Every chunk takes so long.
    Slow(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Line {
    way: Way,
    /// Connections of an older one are cut.
    generation: u64,
}

pub struct Wire {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    /// Commits whose answers are still to be lost.
    losing: Arc<AtomicU32>,
    task: AbortHandle,
}

impl Wire {
    /// In front of the server that `url` names.
    pub async fn before(url: &Url) -> Self {
        let target = format!(
            "{}:{}",
            url.host_str().expect("a host"),
            url.port().expect("a port")
        );
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let line = Arc::new(watch::Sender::new(Line {
            way: Way::Open,
            generation: 0,
        }));
        let losing = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(accept(
            listener,
            target,
            Arc::clone(&line),
            Arc::clone(&losing),
        ));
        Self {
            address,
            line,
            losing,
            task: task.abort_handle(),
        }
    }

    /// `url` by way of this wire.
    pub fn url(&self, url: &Url) -> Url {
        let mut url = url.clone();
        url.set_port(Some(self.address.port()))
            .expect("a URL with a port");
        url
    }

    /// Breaks all connections in the middle; new ones work.
    pub fn cut(&self) {
        self.line.send_modify(|line| line.generation += 1);
    }

    /// Breaks all connections and refuses new ones, until [`Wire::mend`].
    pub fn refuse(&self) {
        self.change(Way::Refused);
        self.cut();
    }

    /// Nothing comes through any more and nobody is told, until [`Wire::mend`].
    pub fn silence(&self) {
        self.change(Way::Silent);
    }

    pub fn slow_down(&self, delay: Duration) {
        self.change(Way::Slow(delay));
    }

    pub fn mend(&self) {
        self.losing.store(0, Ordering::SeqCst);
        self.change(Way::Open);
    }

    /// The next so many commits are done by the server, and their connections break before the answer.
    pub fn lose_answers_to_commits(&self, count: u32) {
        self.losing.store(count, Ordering::SeqCst);
    }

    /// How many answers are still to be lost.
    pub fn answers_to_lose(&self) -> u32 {
        self.losing.load(Ordering::SeqCst)
    }

    fn change(&self, way: Way) {
        self.line.send_modify(|line| line.way = way);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    line: Arc<watch::Sender<Line>>,
    losing: Arc<AtomicU32>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let mut line = line.subscribe();
        let now = *line.borrow_and_update();
        if now.way == Way::Refused {
            continue;
        }
        let (target, losing) = (target.clone(), Arc::clone(&losing));
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            let cut = line.clone();
            tokio::select! {
                () = forward(client, server, &line, &losing) => {}
                () = is_cut(cut, now.generation) => {}
            }
        });
    }
}

async fn is_cut(mut line: watch::Receiver<Line>, generation: u64) {
    // The sender is gone with the wire; then everything is cut.
    let _ = line.wait_for(|line| line.generation > generation).await;
}

/// Until either side ends, or an answer was to be lost.
async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    line: &watch::Receiver<Line>,
    losing: &AtomicU32,
) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let swallow = AtomicBool::new(false);
    let asks = carry(client_in, server_out, line.clone(), |chunk| {
        if asks_for_commit(chunk) && take_one(losing) {
            swallow.store(true, Ordering::SeqCst);
        }
        true
    });
    let answers = carry(server_in, client_out, line.clone(), |_| {
        !swallow.load(Ordering::SeqCst)
    });
    tokio::select! {
        () = asks => {}
        () = answers => {}
    }
}

fn asks_for_commit(chunk: &[u8]) -> bool {
    chunk.windows(6).any(|window| window == b"COMMIT")
}

fn take_one(losing: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    losing
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// Carries chunks that `passes`, in the manner of the line; ends with the first that does not.
async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut line: watch::Receiver<Line>,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let way = line.borrow_and_update().way;
        match way {
            Way::Slow(delay) => tokio::time::sleep(delay).await,
            Way::Silent => {
                if line.wait_for(|line| line.way != Way::Silent).await.is_err() {
                    return;
                }
            }
            Way::Open | Way::Refused => {}
        }
        let chunk = &buffer[..read];
        if !passes(chunk) || to.write_all(chunk).await.is_err() {
            return;
        }
    }
}
