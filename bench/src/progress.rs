//! A bar on standard error while something is measured, for a person who looks; nothing otherwise.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Rarely, so that drawing costs nothing that matters.
const DRAWS_A_SECOND: u8 = 4;

/// The bar goes when the last handle does.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Bar>);

#[derive(Debug)]
struct Bar(ProgressBar);

impl Progress {
    pub fn new(what: &str, total: u64) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg:<28} {wide_bar} {pos}/{len} {per_sec}")
        {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(Arc::new(Bar(bar)))
    }

    pub fn add(&self, count: u64) {
        self.0.0.inc(count);
    }

    pub fn set(&self, count: u64) {
        self.0.0.set_position(count);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.disable_steady_tick();
        self.0.finish_and_clear();
    }
}
