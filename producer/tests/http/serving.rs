//! The server itself: over a real socket, to an orderly end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::site::{DEADLINE, Site};

#[tokio::test]
async fn the_server_ends_although_a_stream_was_open() {
    let site = Site::start().await;
    let id = site.session("watched over a socket").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(producer::serve(
        listener,
        site.router.clone(),
        shutdown.clone(),
    ));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/sessions/{id}/events HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\n\r\n",
        site.member
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("event: queued") {
        let count = client.read_buf(&mut read).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&read));
    }
    site.draining.cancel();
    shutdown.cancel();
    let ended = tokio::time::timeout(DEADLINE, server).await;
    ended.expect("the server ends").unwrap().unwrap();
    client.read_to_end(&mut read).await.unwrap();
    // The last chunk is there: the stream was ended, not cut.
    assert!(String::from_utf8_lossy(&read).ends_with("0\r\n\r\n"));
    assert!(TcpStream::connect(address).await.is_err());
}
