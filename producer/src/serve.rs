//! Serves a router until told to stop, and then ends in bounded time.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests in flight may take to end; after it their connections are cut.
const GRACE: Duration = Duration::from_secs(15);

/// Accepts connections until `shutdown`, then lets the requests in flight end, for at most [`GRACE`].
///
/// Event streams end when the router's own `draining` token is cancelled: cancel it no later than `shutdown`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    // Events are small and must not wait for a full packet.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.clone().cancelled_owned())
        .into_future();
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = too_late => {
            tracing::warn!(grace = ?GRACE, "requests were still open after the grace time and were cut off");
            Ok(())
        }
    }
}
