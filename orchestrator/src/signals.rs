//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends the process at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first signal. After the second, the process exits with 128 + its number, as a
/// shell would say; what it ran dies with it.
pub fn shutdown() -> io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            }
            .as_raw_value();
            if first.is_cancelled() {
                std::process::exit(128 + number);
            }
            tracing::info!("ending in order; a second signal ends at once");
            first.cancel();
        }
    });
    Ok(token)
}
