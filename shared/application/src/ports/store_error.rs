/// Why the store could not do what was asked. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Not to be reached, or too slow; trying again may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The disk is full.
    #[error("the store has no room left: {0}")]
    Full(String),
    /// A row or a constraint is not as the code expects: a bug, or somebody else's hands.
    #[error("the store holds something unexpected: {0}")]
    Corrupt(String),
}
