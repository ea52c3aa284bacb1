use domain::QueueKey;

/// The names of queues in the broker.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn queue(&self, queue: QueueKey) -> String {
        format!("{}.{}.{}", self.prefix, queue.kind, queue.tenant)
    }

    /// The queue whose presence says that the broker still has what it was given.
    pub(crate) fn marker(&self) -> String {
        format!("{}.marker", self.prefix)
    }
}
