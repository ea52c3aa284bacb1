//! Ten tenants that submit while things break, and remember what was acknowledged. A client that got an error, or no
//! answer, does not know whether its jobs were taken, and says nothing of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Api, PATIENCE, Work, eventually};

/// Quota and weight of each tenant.
pub const TENANTS: [(u32, u32); 10] = [
    (1, 1),
    (1, 5),
    (2, 1),
    (2, 3),
    (3, 1),
    (4, 2),
    (5, 1),
    (6, 4),
    (8, 1),
    (12, 2),
];
/// Between two submissions of a tenant.
const PACE: Duration = Duration::from_millis(600);
/// The same when there are to be free slots all the time, on a busy machine as well.
const EASY_PACE: Duration = Duration::from_secs(2);
/// Submitted at once, for each place in the quota, so that no tenant's backlog takes much longer than another's.
const BULK_PER_QUOTA: u32 = 4;
const EASY_BULK_PER_QUOTA: u32 = 1;
/// Long runs of a tenant, as a share of its quota: they must not be all that it does.
const LONG_PER_QUOTA: u32 = 2;
/// A client's patience: shorter than some faults, so that there are submissions without an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A job that was acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub id: String,
    pub work: Work,
}

#[derive(Default)]
pub struct Book {
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Submissions without an answer, or with an error.
    pub unknown: AtomicU32,
    easy: AtomicBool,
    over: AtomicBool,
}

impl Book {
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Load {
    pub book: Arc<Book>,
    clients: JoinSet<()>,
}

impl Load {
    /// `producers` are asked in turn, each acting for a tenant when it is told which.
    pub async fn begin(producers: &[Api], marks: PathBuf, seed: u64) -> Self {
        let book = Arc::new(Book::default());
        let mut clients = JoinSet::new();
        for (number, (quota, weight)) in TENANTS.into_iter().enumerate() {
            let slug = format!("t-{number}");
            let tenant = json!({
                "slug": slug,
                "quotas": {"session": quota, "training": 1},
                "weight": weight,
                "max_queued": 100_000,
            });
            let answer = producers[0].post("/api/v1/tenants", &tenant).await;
            answer.expect(201);
            let client = Client {
                producers: producers.iter().map(|api| api.acting_for(&slug)).collect(),
                marks: marks.clone(),
                rng: Rng::with_seed(seed ^ number as u64),
                quota,
                long: (quota / LONG_PER_QUOTA).max(1),
                book: Arc::clone(&book),
            };
            clients.spawn(client.submit_until_over());
        }
        Self { book, clients }
    }

    /// Waits until so many more are acknowledged: the load goes on, and reaches the store.
    pub async fn goes_on(&self, more: usize) {
        let goal = self.book.lock().len() + more;
        let what = format!("{more} more jobs are acknowledged");
        eventually(&what, PATIENCE, async || {
            (self.book.lock().len() >= goal).then_some(())
        })
        .await;
    }

    /// From now on there is less of it, of everybody.
    pub fn eases(&self) {
        self.book.easy.store(true, Ordering::SeqCst);
    }

    pub async fn end(mut self) -> Arc<Book> {
        self.book.over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client does not break");
        }
        self.book
    }
}

/// One tenant's.
struct Client {
    producers: Vec<Api>,
    marks: PathBuf,
    rng: Rng,
    quota: u32,
    /// Long runs still to be submitted.
    long: u32,
    book: Arc<Book>,
}

impl Client {
    async fn submit_until_over(mut self) {
        for round in 0.. {
            if self.book.over.load(Ordering::SeqCst) {
                return;
            }
            let easy = self.book.easy.load(Ordering::SeqCst);
            let (pace, per_quota) = if easy {
                (EASY_PACE, EASY_BULK_PER_QUOTA)
            } else {
                (PACE, BULK_PER_QUOTA)
            };
            let producer = self.producers[round % self.producers.len()].clone();
            let works: Vec<Work> = (0..self.quota * per_quota).map(|_| self.work()).collect();
            self.bulk(&producer, &works).await;
            let work = self.work();
            self.single(&producer, work).await;
            tokio::time::sleep(pace).await;
        }
    }

    fn work(&mut self) -> Work {
        match self.rng.u32(0..100) {
            0..80 => Work::Echo,
            80..88 => Work::Short,
            88..92 => Work::Flaky,
            92..94 => Work::Broken,
            94..96 => Work::Exhausted,
            _ if self.long > 0 => {
                self.long -= 1;
                Work::Long
            }
            _ => Work::Echo,
        }
    }

    async fn single(&self, producer: &Api, work: Work) {
        let body = work.body(&self.marks);
        if let Some(answer) = self.post(producer, "/api/v1/sessions", &body).await {
            self.remember(&answer["id"], work);
        }
    }

    async fn bulk(&self, producer: &Api, works: &[Work]) {
        let bodies: Vec<Value> = works.iter().map(|work| work.body(&self.marks)).collect();
        let body = json!({"sessions": bodies});
        if let Some(answer) = self.post(producer, "/api/v1/sessions/bulk", &body).await {
            let ids = answer["ids"].as_array().expect("a list of ids");
            assert_eq!(ids.len(), works.len(), "{answer}");
            for (id, work) in ids.iter().zip(works) {
                self.remember(id, *work);
            }
        }
    }

    /// The answer, if the submission was acknowledged.
    async fn post(&self, producer: &Api, path: &str, body: &Value) -> Option<Value> {
        let request = producer.request(Method::POST, path).json(body);
        let answer = request.timeout(ANSWER_WITHIN).send().await;
        let acknowledged = match answer {
            Ok(answer) if answer.status() == 201 => answer.json().await.ok(),
            Ok(answer) => {
                // Nothing is wrong with what is asked, so it can only be that something is out of order.
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap_or_default();
                assert!(status >= 500, "{path} answered {status}: {text}");
                None
            }
            Err(_) => None,
        };
        if acknowledged.is_none() {
            self.book.unknown.fetch_add(1, Ordering::SeqCst);
        }
        acknowledged
    }

    fn remember(&self, id: &Value, work: Work) {
        let id = id.as_str().expect("an id").to_owned();
        self.book.lock().push(Acknowledged { id, work });
    }
}
