//! Where logs go: standard error, as text for people (in colour on a terminal only) or as JSON lines for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::util::TryInitError;

/// Asking for a queue that is not there is how we learn that it is not there; the client logs it as an error. So does what
/// judges certificates with each call to an agent whose own is bad, which the caller says as well, and less often.
const QUIET: &str = "lapin::channel=off,rustls_platform_verifier=off";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Sets up logging for the process. `filter` is in `tracing`'s own words, `info,sqlx=warn`.
pub fn init_tracing(filter: &str, format: LogFormat) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{QUIET},{filter}")))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    }
}
