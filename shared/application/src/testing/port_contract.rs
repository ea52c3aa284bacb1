//! How a contract suite is run against an adapter: one test a contract, each with a fresh adapter.

/// `$open` makes an adapter nobody has used, an `Option<Arc<_>>`; `None` where the
/// services it needs are not wanted (see [`service_url`](crate::testing::service_url)).
#[macro_export]
macro_rules! port_contract {
    ($suite:ident, $open:expr, [$($contract:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $contract() {
                if let Some(port) = $open {
                    $crate::testing::$suite::$contract(port).await;
                }
            }
        )+
    };
}
