//! The store contract over a real file.

use std::sync::Arc;

use adapter_sqlite::SqliteStore;
use application::store_contract;
use application::testing::StoreUnderTest;

async fn store() -> StoreUnderTest {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("store.db"))
        .await
        .expect("the file opens");
    store.migrate().await.expect("the tables are made");
    StoreUnderTest::new(Arc::new(store)).keeping(folder)
}

store_contract!(store);
