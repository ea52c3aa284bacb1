#[path = "store/schema.rs"]
#[allow(dead_code)]
mod schema;
use std::sync::Arc;
use std::time::Instant;
use application::ports::*;
use application::testing::{StoreUnderTest, make, store::World};
use domain::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bench() {
    let s = schema::Schema::new().await.unwrap();
    let store = s.store().await;
    let client = s.client().await;
    if std::env::var("NOIDX").is_ok() { client.batch_execute("DROP INDEX tenant_slots_to_relay").await.unwrap(); }
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    let t = world.tenant_with_quota("one", 1000).await;
    client.batch_execute("ALTER TABLE tenants ALTER max_queued SET DEFAULT 1").await.unwrap(); client.batch_execute("UPDATE tenants SET max_queued = 1000000").await.unwrap(); world.submit(world.sessions(&t, 10)).await;
    let began = Instant::now();
    for _ in 0..20 { world.submit(world.sessions(&t, 1000)).await; }
    println!("submit 1 conn x1000: {:.0}/s", 20_000.0 / began.elapsed().as_secs_f64());
    // 4 tenants at once
    let mut ts = vec![];
    for n in 0..4 { ts.push(world.tenant_with_quota(&format!("m{n}"), 1000).await); } client.batch_execute("UPDATE tenants SET max_queued = 1000000").await.unwrap();
    let began = Instant::now();
    futures::future::join_all(ts.iter().map(|t| { let w = &world; async move { for _ in 0..10 { w.submit(w.sessions(t, 1000)).await; } } })).await;
    println!("submit 4 conn x1000: {:.0}/s", 40_000.0 / began.elapsed().as_secs_f64());
    client.batch_execute("UPDATE tenants SET max_queued = 1000000").await.unwrap();
    // single-job submissions grouped by 200, 200 tenants
    let mut many = vec![];
    for n in 0..2000 { many.push(world.tenant_with_quota(&format!("wide{n}"), 2).await); }
    let began = Instant::now();
    for _round in 0..5 { for chunk in many.chunks(200) {
        let subs = chunk.iter().map(|t| Submission { tenant: t.id, jobs: world.sessions(t, 1) }).collect();
        store.submit(subs, world.now()).await.unwrap();
    } }
    println!("group commit of 200 singles of 200 tenants: {:.0}/s", 10_000.0 / began.elapsed().as_secs_f64());
    let worker = world.worker().await;
    // claim + finish deep
    let all: Vec<Job> = store.list(t.id, JobFilter { limit: 20_000, ..Default::default() }).await.unwrap();
    let (mut c, mut f) = (0.0, 0.0);
    let mut n = 0;
    for chunk in all.chunks(200).take(50) {
        let reqs = chunk.iter().map(World::request).collect();
        let b = Instant::now();
        let claimed = store.claim(worker, reqs, world.now()).await.unwrap();
        c += b.elapsed().as_secs_f64();
        n += claimed.jobs.len();
        let fin = claimed.jobs.iter().map(|j| world.finish_of(j, Ending::Completed(make::session_result("ok")))).collect();
        let b = Instant::now();
        store.finish(worker, fin, world.now()).await.unwrap();
        f += b.elapsed().as_secs_f64();
    }
    println!("deep claim 200: {:.0}/s finish: {:.0}/s", n as f64 / c, n as f64 / f);
    // wide: 1 job of each of 200 tenants
    let (mut c, mut f) = (0.0, 0.0); let mut n = 0;
    let mut first = vec![];
    for t in &many { first.push(store.list(t.id, JobFilter { limit: 5, ..Default::default() }).await.unwrap()); }
    for round in 0..5 { for chunk in first.chunks(200) {
        let reqs = chunk.iter().map(|js| World::request(&js[round])).collect();
        let b = Instant::now();
        let claimed = store.claim(worker, reqs, world.now()).await.unwrap();
        c += b.elapsed().as_secs_f64();
        n += claimed.jobs.len();
        let fin = claimed.jobs.iter().map(|j| world.finish_of(j, Ending::Completed(make::session_result("ok")))).collect();
        let b = Instant::now();
        store.finish(worker, fin, world.now()).await.unwrap();
        f += b.elapsed().as_secs_f64();
    } }
    println!("wide claim 200: {:.0}/s finish: {:.0}/s ({n})", n as f64 / c, n as f64 / f);
    // claim one at a time
    let b = Instant::now();
    let rest: Vec<_> = all[10_000..10_300].to_vec();
    for j in &rest { let r = store.claim(worker, vec![World::request(j)], world.now()).await.unwrap(); assert_eq!(r.jobs.len(), 1); }
    println!("single claim: {:.2} ms", b.elapsed().as_secs_f64() * 1000.0 / 300.0);
    let b = Instant::now();
    let mut rel = 0;
    for _ in 0..10 { rel += store.relay(1000, world.now()).await.unwrap().publish.len(); }
    println!("relay: {:.2} ms each, {rel} published", b.elapsed().as_secs_f64() * 100.0);
    let b = Instant::now();
    for _ in 0..10 { store.relay(1000, world.now()).await.unwrap(); }
    println!("relay idle: {:.2} ms each", b.elapsed().as_secs_f64() * 100.0);
    let b = Instant::now();
    let r = store.reconcile(std::time::Duration::from_secs(100), world.now()).await.unwrap();
    println!("reconcile: {:.2} ms {:?}", b.elapsed().as_secs_f64() * 1000.0, r.drifted.len());
    for row in client.query("SELECT relname::text, n_tup_upd, n_tup_hot_upd, pg_relation_size(relid) FROM pg_stat_user_tables WHERE schemaname = current_schema() AND n_tup_upd > 0", &[]).await.unwrap() {
        println!("{} upd {} hot {} size {}", row.get::<_, String>(0), row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, i64>(3));
    }
}
