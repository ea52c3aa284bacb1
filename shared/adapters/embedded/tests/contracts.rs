//! The in-process adapters keep the contracts of their ports.

use std::sync::Arc;

use adapter_embedded::{EmbeddedBus, EmbeddedLocks, EmbeddedQueue, EmbeddedReady};
use application::ports::{EventBus, JobQueue, Locks, ReadySet};

mod queue {
    use super::{Arc, EmbeddedQueue, JobQueue};

    async fn open() -> Option<Arc<dyn JobQueue>> {
        Some(Arc::new(EmbeddedQueue::default()))
    }

    application::queue_contract!(open);
}

mod ready {
    use super::{Arc, EmbeddedReady, ReadySet};

    async fn open() -> Option<Arc<dyn ReadySet>> {
        Some(Arc::new(EmbeddedReady::default()))
    }

    application::ready_contract!(open);
}

mod locks {
    use super::{Arc, EmbeddedLocks, Locks};

    async fn open() -> Option<Arc<dyn Locks>> {
        Some(Arc::new(EmbeddedLocks::default()))
    }

    application::locks_contract!(open);
}

mod bus {
    use super::{Arc, EmbeddedBus, EventBus};

    async fn open() -> Option<Arc<dyn EventBus>> {
        Some(Arc::new(EmbeddedBus::default()))
    }

    application::bus_contract!(open);
}
