//! Looks at the store again and again while everything breaks. Each look is one statement, so it sees one moment: what
//! it finds wrong was wrong then, whatever the clocks say.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::audit::{AT_ALL_TIMES, Database};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A broken thing stays broken; more of the same says nothing new.
const SEEN_MOST: usize = 10;

pub struct Watcher {
    over: Arc<Notify>,
    task: Option<JoinHandle<(usize, Vec<String>)>>,
}

impl Watcher {
    pub fn start(database: Url) -> Self {
        let over = Arc::new(Notify::new());
        let task = tokio::spawn(watch(database, Arc::clone(&over)));
        Self {
            over,
            task: Some(task),
        }
    }

    /// How often it looked, and what it saw.
    pub async fn stop(&mut self) -> (usize, Vec<String>) {
        self.over.notify_one();
        let task = self.task.take().expect("it is stopped once");
        task.await.expect("the watcher does not break")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn watch(url: Url, over: Arc<Notify>) -> (usize, Vec<String>) {
    let mut looks = 0;
    let mut seen = Vec::new();
    let mut database = None;
    loop {
        tokio::select! {
            () = over.notified() => return (looks, seen),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // The server may be away; it is one of the faults.
        if database.is_none() {
            database = Database::try_open(&url).await.ok();
        }
        let Some(open) = &database else { continue };
        for rule in AT_ALL_TIMES {
            match open.broken(rule).await {
                Ok(broken) => {
                    seen.extend(
                        broken
                            .into_iter()
                            .map(|what| format!("while it went on: {what}")),
                    );
                    seen.truncate(SEEN_MOST);
                }
                // The first look comes before the tables.
                Err(error) if error.is_closed() => {
                    database = None;
                    break;
                }
                Err(_) => break,
            }
            looks += 1;
        }
    }
}
