use adapter_postgres::PostgresClock;
use application::ports::Clock;
use domain::Timestamp;

use crate::schema::Schema;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_tells_the_servers_time_in_whole_microseconds() {
    let Some(schema) = Schema::empty().await else {
        return;
    };
    let store = schema.store().await;
    let clock = PostgresClock::start(&store).await.unwrap();
    let client = schema.client().await;
    for _ in 0..20 {
        let before = clock.now();
        let row = client
            .query_one("SELECT clock_timestamp()", &[])
            .await
            .unwrap();
        let server: Timestamp = row.get(0);
        let after = clock.now();
        // The measurement is wrong by half a round trip at most; a loaded machine makes that long.
        let tolerance = chrono::Duration::milliseconds(250);
        assert!(
            before - tolerance <= server,
            "{before} is far after {server}"
        );
        assert!(
            server <= after + tolerance,
            "{after} is far before {server}"
        );
        assert_eq!(after.timestamp_subsec_nanos() % 1000, 0);
        clock.refresh().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_never_goes_back_while_it_is_corrected() {
    let Some(schema) = Schema::empty().await else {
        return;
    };
    let store = schema.store().await;
    let clock = PostgresClock::start(&store).await.unwrap();
    let mut last = clock.now();
    for _ in 0..50 {
        clock.refresh().await.unwrap();
        for _ in 0..100 {
            let now = clock.now();
            assert!(last <= now, "{now} was told after {last}");
            last = now;
        }
    }
}
