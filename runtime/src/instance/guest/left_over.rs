//! Finds what a guest still holds after an invocation.

use wasmtime_wasi_http::p2::types::HostResponseOutparam;

use crate::instance::guest::Guest;
use crate::instance::guest::outgoing_body::OutgoingBody;

/// Resource handles a guest still holds after an invocation.
#[derive(Debug, Default, Clone, Copy)]
pub struct LeftOver {
    /// How many.
    pub handles: usize,
    /// Whether a response body that was never finished is among them.
    pub unfinished_body: bool,
    /// Whether the chance to answer is among them, unused.
    pub unset_response: bool,
}

impl Guest {
    /// Returns what the guest still holds after an invocation.
    pub fn left_over(&mut self) -> LeftOver {
        let is_empty = self.table.is_empty();
        self.charge_left_over(is_empty);
        if is_empty {
            self.files.release();
            return LeftOver::default();
        }
        self.table.iter_mut().fold(LeftOver::default(), |left, entry| LeftOver {
            handles: left.handles + 1,
            unfinished_body: left.unfinished_body || entry.is::<OutgoingBody>(),
            unset_response: left.unset_response || entry.is::<HostResponseOutparam>(),
        })
    }
}
