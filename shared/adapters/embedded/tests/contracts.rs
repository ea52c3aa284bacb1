//! The in-process adapters keep the contracts of their ports.

mod queue {
    use std::sync::Arc;

    use adapter_embedded::EmbeddedQueue;

    application::queue_contract!(Some(Arc::new(EmbeddedQueue::default())));
}

mod ready {
    use std::sync::Arc;

    use adapter_embedded::EmbeddedReady;

    application::ready_contract!(Some(Arc::new(EmbeddedReady::default())));
}

mod locks {
    use std::sync::Arc;

    use adapter_embedded::EmbeddedLocks;

    application::locks_contract!(Some(Arc::new(EmbeddedLocks::default())));
}

mod bus {
    use std::sync::Arc;

    use adapter_embedded::EmbeddedBus;

    application::bus_contract!(Some(Arc::new(EmbeddedBus::default())));
}
