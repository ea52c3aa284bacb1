//! The way out of the simulated world: runs a real store's call to its end while the world stands still.
//!
//! The world's runtime must never wait for another thread by itself: it would see nobody ready and jump its clock. So
//! a call blocks the world's only thread until the other runtime has the answer. Nothing here knows what is called.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread with an ordinary runtime.
pub struct Bridge {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    pub fn new() -> std::io::Result<Self> {
        // Without the driver for sockets, whose wake-ups cost more than most statements.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let (work, todo) = channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("bridge".to_owned())
            .spawn(move || {
                // What the store leaves to run in the background runs with the next call.
                while let Ok(work) = todo.recv() {
                    runtime.block_on(work);
                }
            })?;
        Ok(Self {
            work: Some(work),
            thread: Some(thread),
        })
    }

    /// The answer of `future`, in no time of the world. `None`: it panicked.
    pub fn call<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = channel();
        let work = async move {
            // A caller that is gone needs no answer.
            let _ = answer.send(future.await);
        };
        self.work.as_ref()?.send(Box::pin(work)).ok()?;
        answered.recv().ok()
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bridge")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
