//! The server's time, so that all processes of an installation agree on leases whatever their own wall clocks say.
//!
//! The machine's monotonic clock gives the pace, the server the position. The machine's wall clock is never read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use application::ports::{Clock, StoreError};
use deadpool_postgres::Pool;
use domain::Timestamp;

use crate::PostgresStore;
use crate::error::{During, Failure};

/// Of so many measurements the one with the shortest round trip counts: it has the smallest error.
const SAMPLES: u32 = 3;

pub struct PostgresClock {
    pool: Pool,
    /// Where the monotonic clock stood at the start.
    origin: Instant,
    /// The server's time at `origin`, microseconds since 1970.
    at_origin: AtomicI64,
    /// The latest instant told, so that a correction never takes the time back.
    told: AtomicI64,
}

impl PostgresClock {
    /// Asks the server of `store` for the time.
    pub async fn start(store: &PostgresStore) -> Result<Self, StoreError> {
        let clock = Self {
            pool: store.pool.clone(),
            origin: Instant::now(),
            at_origin: AtomicI64::new(0),
            told: AtomicI64::new(i64::MIN),
        };
        clock.refresh().await?;
        Ok(clock)
    }

    /// Measures again, because clocks drift apart. After an error the old measurement stands.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let at_origin = self.measure().await.during("reading the server's clock")?;
        self.at_origin.store(at_origin, Ordering::Release);
        Ok(())
    }

    async fn measure(&self) -> Result<i64, Failure> {
        let client = self.pool.get().await?;
        let statement = client.prepare_cached("SELECT clock_timestamp()").await?;
        let mut best = (Duration::MAX, 0);
        for _ in 0..SAMPLES {
            let asked = self.origin.elapsed();
            let row = client.query_one(&statement, &[]).await?;
            let answered = self.origin.elapsed();
            let server: Timestamp = row.try_get(0)?;
            let round_trip = answered.saturating_sub(asked);
            // The answer was true half a round trip after the question left.
            let at_origin = server.timestamp_micros() - micros(asked + round_trip / 2);
            best = best.min((round_trip, at_origin));
        }
        Ok(best.1)
    }
}

impl Clock for PostgresClock {
    fn now(&self) -> Timestamp {
        let server = self.at_origin.load(Ordering::Acquire) + micros(self.origin.elapsed());
        let told = self.told.fetch_max(server, Ordering::AcqRel).max(server);
        Timestamp::from_timestamp_micros(told).unwrap_or(Timestamp::MAX_UTC)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
