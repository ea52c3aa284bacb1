//! Where the services are that a test needs.

/// The URL in `variable`, or `None` when this run is for the embedded mode only.
///
/// # Panics
///
/// When services are wanted and the variable is missing: a test is never skipped silently.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are configured by the environment of the script that runs them"
)]
pub fn service_url(variable: &str) -> Option<String> {
    if std::env::var("ORCHESTRATOR_TEST_MODE").is_ok_and(|mode| mode == "embedded") {
        return None;
    }
    let url = std::env::var(variable).unwrap_or_else(|error| {
        panic!(
            "{variable}: {error}. Start the services with `scripts/services up` and load their URLs with \
             `eval \"$(scripts/services env)\"`, or set ORCHESTRATOR_TEST_MODE=embedded to leave these tests out."
        )
    });
    Some(url)
}
