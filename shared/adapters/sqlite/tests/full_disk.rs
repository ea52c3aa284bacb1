//! A disk that fills up under the store, and has room again.
//!
//! The test starts itself once more under a limit on the size of files, which to SQLite is a disk that takes no more,
//! and lifts the limit from within.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use adapter_sqlite::SqliteStore;
use application::ports::{JobStore as _, Submission};
use application::testing::store::World;
use application::testing::{StoreUnderTest, make};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Set to the folder of the store in the process that runs under the limit.
const UNDER_LIMIT: &str = "ORCHESTRATOR_TEST_FULL_DISK";
/// In blocks of 512 bytes, as POSIX shells count: two megabytes.
const LIMIT_BLOCKS: u32 = 4_096;
const JOBS_AT_ONCE: usize = 200;
const TEST: &str = "writes_go_on_when_there_is_room_again";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how a test tells itself that it was started under the limit"
)]
fn writes_go_on_when_there_is_room_again() {
    if let Ok(folder) = std::env::var(UNDER_LIMIT) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(fill_and_go_on(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().expect("a folder");
    // Without the trap, the limit's signal would end the process instead of failing the write.
    let line = format!(
        "trap '' XFSZ; ulimit -S -f {LIMIT_BLOCKS}; exec \"$0\" --exact {TEST} --nocapture"
    );
    let status = Command::new("/bin/sh")
        .args(["-c", &line])
        .arg(std::env::current_exe().expect("this program"))
        .env(UNDER_LIMIT, folder.path())
        .status()
        .expect("a shell");
    assert!(status.success(), "{status}");
}

async fn fill_and_go_on(folder: &Path) {
    let store = SqliteStore::open(&folder.join("store.db"))
        .await
        .expect("opened");
    store.migrate().await.expect("migrated");
    let world = World::new(StoreUnderTest::new(Arc::new(store.clone())));
    let tenant = world.tenant("acme").await;
    let submit = async || {
        let submission = Submission {
            tenant: tenant.id,
            jobs: world.sessions(&tenant, JOBS_AT_ONCE),
        };
        store.submit(vec![submission], world.now()).await
    };
    let first = world.submitted(&tenant, make::new_session("first")).await;
    let mut taken = 1_usize;
    while submit().await.is_ok() {
        taken += JOBS_AT_ONCE;
        assert!(taken < 100_000, "the limit does not hold");
    }
    // A checkpoint may have made a little room since; the end is the same.
    while submit().await.is_ok() {
        taken += JOBS_AT_ONCE;
        assert!(taken < 100_000, "the limit does not hold");
    }

    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("the limit");
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("the limit is lifted");
    submit().await.expect("there is room again");
    let counts = world.counts(first.queue()).await;
    assert_eq!(
        counts.1 as usize,
        taken + JOBS_AT_ONCE,
        "only what was accepted is there"
    );
}
