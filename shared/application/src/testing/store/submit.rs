//! SUBMIT: whole or refused, with events, counts and messages in the same transaction.

use domain::{JobSpec, Priority};
use serde_json::json;

use super::{StoreUnderTest, World};
use crate::testing::make;

pub async fn a_job_reads_back_as_it_was_submitted(store: StoreUnderTest) {
    let world = World::new(store);
    let tenant = world.tenant("reader").await;
    let parent = world.submitted(&tenant, make::new_session("parent")).await;
    let mut new = make::new_training("every field \u{1F600} \"quoted\" ''");
    new.priority = Priority::Deferred;
    new.tags = vec!["a".to_owned(), "b c".to_owned(), "ü,\"{}".to_owned()];
    new.metadata
        .insert("deep".to_owned(), json!({"list": [1, 2.5, null, "x"]}));
    if let JobSpec::Training(spec) = &mut new.spec {
        spec.parameters
            .insert("rate".to_owned(), json!(0.000_125_f64));
    }
    new.max_attempts = 7;
    new.max_duration_seconds = 61;
    new.run_after = Some(world.now() + std::time::Duration::from_micros(90_000_001));
    new.parent = Some(parent.id);
    new.start = false;
    let job = world.submitted(&tenant, new).await;
    assert_eq!(world.get(&job).await, job);
    assert_eq!(world.get(&parent).await, parent);
}
