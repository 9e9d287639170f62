//! Says what called a function, if it was not a client.

use crate::manifest::grants::StoreName;
use crate::meter::redactor::Redactor;

/// What calls a function instead of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A message of this queue, or about this container of blobs.
    Message {
        /// Queue or container.
        from: StoreName,
        /// What it is called.
        id: String,
    },
    /// Several of them in one request.
    Batch {
        /// Queue or container.
        from: StoreName,
        /// How many.
        messages: usize,
    },
    /// A timer.
    Timer,
}

impl Cause {
    /// Returns it without the secrets that `redactor` removes.
    pub fn redacted(&self, redactor: &Redactor) -> Self {
        match self {
            Self::Message { from, id } => {
                Self::Message { from: from.clone(), id: redactor.redact(id.clone()) }
            }
            other => other.clone(),
        }
    }
}
