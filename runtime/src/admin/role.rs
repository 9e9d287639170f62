//! Who asks the admin API, as far as rights go.

/// Who asks: an extension of each request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever has the token.
    Operator,
    /// Somebody on this machine.
    Viewer,
}
