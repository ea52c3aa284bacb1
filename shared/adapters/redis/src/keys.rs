use application::ports::Interest;
use domain::JobKind;

/// The names of everything in Redis. All begin with one hash tag, so that they live on one node of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    tag: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            tag: format!("{{{prefix}}}"),
        }
    }

    /// There while the ready set is complete.
    pub(crate) fn marker(&self) -> String {
        format!("{}:marker", self.tag)
    }

    /// Who began the latest rebuild.
    pub(crate) fn rebuild(&self) -> String {
        format!("{}:rebuild", self.tag)
    }

    /// The kind picked last.
    pub(crate) fn latest(&self) -> String {
        format!("{}:latest", self.tag)
    }

    /// Of a kind, in the order in which the scripts take them.
    pub(crate) fn of_kind(&self, kind: JobKind) -> [String; 4] {
        ["queues", "ready", "idle", "present"].map(|what| format!("{}:{kind}:{what}", self.tag))
    }

    pub(crate) fn wake_channel(&self) -> String {
        format!("{}:wake", self.tag)
    }

    /// In the order in which the scripts take them.
    pub(crate) fn lock(&self, resource: &str) -> [String; 2] {
        ["line", "until"].map(|what| format!("{}:lock:{what}:{resource}", self.tag))
    }

    pub(crate) fn channel(&self, interest: Interest) -> String {
        match interest {
            Interest::Tenant(tenant) => format!("{}:tenant:{tenant}", self.tag),
            Interest::Worker(worker) => format!("{}:worker:{worker}", self.tag),
        }
    }
}
