//! Names invocations, and lists every way in which one can end.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use serde::{Serialize, Serializer};

use crate::limits;

/// Carries the id of the invocation, on every response.
pub const INVOCATION: HeaderName = HeaderName::from_static("wfn-invocation");
/// Carries the code of the host's own errors.
pub const OUTCOME: HeaderName = HeaderName::from_static("wfn-outcome");

/// Names one invocation in answers, logs and traces: 16 hexadecimal digits, unique within a run of the
/// host and random across runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InvocationId(u64);

impl InvocationId {
    /// A new id. Each thread counts from a random start with a stride of its own, so nothing is shared.
    pub fn next() -> Self {
        Self(random_bits())
    }

    /// The sixteen digits, without allocating.
    pub fn digits(self) -> [u8; 16] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        std::array::from_fn(|i| HEX[(self.0 >> (60 - 4 * i)) as usize & 15])
    }

    /// The bare number, for keeping it in an atomic.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The id that [`Self::to_bits`] came from.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Returns 64 evenly spread bits, which do not repeat on one thread. For ids, not for secrets.
pub fn random_bits() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(random_start());
    }
    STATE.with(|state| {
        let counter = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(counter);
        // The finalizer of SplitMix64: a bijection, so ids of one thread never repeat.
        let mut mixed = counter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Returns a number from 0 to 1, evenly spread. For pauses that must not all end at the same time.
pub fn random_share() -> f64 {
    random_bits() as f64 / u64::MAX as f64
}

/// The standard library seeds its hashers from the kernel's randomness and never fails.
fn random_start() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}

impl Serialize for InvocationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The limit or quota that kept an invocation from getting a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// The wait queue of the pool is full, or the wait in it was over: every instance up to the maximum is busy.
    MaximumInstances,
    /// The group adds instances as fast as it may, and the wait for the next one was over.
    Pace,
    /// The host's memory quota has no room for another instance.
    MemoryQuota,
    /// Guests hold as much real memory as the host allows them.
    HostMemory,
    /// Every worker the host can hold is live.
    WorkerCount,
    /// It had a slot, and the wait for a core was over: those before it computed all the time.
    Cores,
}

impl Throttle {
    /// The stable words in metrics, in the order of [`Self::index`].
    pub const CODES: [&str; 6] =
        ["maximum-instances", "pace", "memory-quota", "host-memory", "worker-count", "cores"];

    /// Where it stands in [`Self::CODES`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why a request's body failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than [`limits::REQUEST_BODY_BYTES_MAX`].
    #[error("the request body is longer than {} bytes", limits::REQUEST_BODY_BYTES_MAX)]
    TooLarge,
    /// Slower than [`limits::BODY_BYTES_PER_SECOND_MIN`].
    #[error("the request body arrives slower than {} bytes a second", limits::BODY_BYTES_PER_SECOND_MIN)]
    TooSlow,
    /// The client broke off, or its framing is wrong.
    #[error("the request body ended early or is framed wrongly")]
    Broken,
    /// Longer than [`limits::COMMAND_BODY_BYTES_MAX`], without saying how long.
    #[error(
        "this function is a program, which is told the length of its input: send a Content-Length with a body of more than {} bytes",
        limits::COMMAND_BODY_BYTES_MAX
    )]
    LengthRequired,
}

impl BodyError {
    /// Its stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "body-too-large",
            Self::TooSlow => "body-too-slow",
            Self::Broken => "body-broken",
            Self::LengthRequired => "length-required",
        }
    }

    /// The HTTP status its client gets.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
        }
    }
}

/// Why a request's body failed that a function reads while it arrives. For the code that reports how the invocation ended.
#[derive(Debug, Default)]
pub struct BodyVerdict(OnceLock<BodyError>);

impl BodyVerdict {
    /// Notes that the body failed. Only the first error counts.
    pub fn set(&self, error: BodyError) {
        let _ = self.0.set(error);
    }

    /// Returns why it failed, if it did.
    pub fn get(&self) -> Option<BodyError> {
        self.0.get().copied()
    }
}

/// How an invocation ended. A new way to end is a new variant here, so that the compiler asks every reader about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest answered (whatever status it chose) and the answer was passed on whole.
    Answered,
    /// It got no slot because of a limit or quota.
    Throttled(Throttle),
    /// The deadline passed while it waited or computed.
    TimedOut(Duration),
    /// The guest trapped; the text is the first line of the reason.
    Trapped(String),
    /// The guest trapped after the host had refused it memory.
    MemoryLimit(String),
    /// The guest returned without an answer.
    NoResponse,
    /// The guest's answer breaks HTTP or a bound. The text is the host's own: it is told to callers.
    InvalidResponse(&'static str),
    /// The request's body failed while the guest read it, and the guest could not go on without it.
    BadBody(BodyError),
    /// No worker could be made.
    StartFailed(String),
    /// Its asynchronous worker ended because of another invocation in it.
    WorkerLost(&'static str),
    /// The host itself failed while it served the guest: a bug of wfn.
    HostFailed,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    /// The stable words in `wfn-outcome`, error bodies, logs and metrics, in the order of [`Self::index`].
    pub const CODES: [&str; 15] = [
        "answered",
        "throttled",
        "timed-out",
        "trapped",
        "memory-limit",
        "no-response",
        "invalid-response",
        "start-failed",
        "worker-lost",
        "host-failed",
        "cancelled",
        "body-too-large",
        "body-too-slow",
        "body-broken",
        "length-required",
    ];

    /// Its stable word.
    pub fn code(&self) -> &'static str {
        Self::CODES[self.index()]
    }

    /// Where it stands in [`Self::CODES`].
    pub fn index(&self) -> usize {
        match self {
            Self::Answered => 0,
            Self::Throttled(_) => 1,
            Self::TimedOut(_) => 2,
            Self::Trapped(_) => 3,
            Self::MemoryLimit(_) => 4,
            Self::NoResponse => 5,
            Self::InvalidResponse(_) => 6,
            Self::StartFailed(_) => 7,
            Self::WorkerLost(_) => 8,
            Self::HostFailed => 9,
            Self::Cancelled => 10,
            Self::BadBody(BodyError::TooLarge) => 11,
            Self::BadBody(BodyError::TooSlow) => 12,
            Self::BadBody(BodyError::Broken) => 13,
            Self::BadBody(BodyError::LengthRequired) => 14,
        }
    }

    /// The HTTP status the caller gets when nothing has been sent yet.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Answered => StatusCode::OK,
            Self::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Trapped(_)
            | Self::MemoryLimit(_)
            | Self::StartFailed(_)
            | Self::WorkerLost(_)
            | Self::HostFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoResponse | Self::InvalidResponse(_) => StatusCode::BAD_GATEWAY,
            Self::BadBody(error) => error.status(),
            // Nobody reads it: the client is gone.
            Self::Cancelled => StatusCode::BAD_REQUEST,
        }
    }

    /// What the caller is told. Details of the guest stay in the app's log.
    pub fn message(&self) -> String {
        match self {
            Self::Answered => "the function answered".into(),
            Self::Throttled(Throttle::MaximumInstances) => {
                "every instance this app may have is busy; retry later".into()
            }
            Self::Throttled(Throttle::Pace) => {
                "every instance is busy and this app may not add more as fast as it is called; retry later"
                    .into()
            }
            Self::Throttled(Throttle::MemoryQuota) => {
                "the host's memory quota has no room for another instance; retry later".into()
            }
            Self::Throttled(Throttle::HostMemory) => {
                "the functions on this host hold all memory they may; retry later".into()
            }
            Self::Throttled(Throttle::WorkerCount) => {
                format!("all {} workers of this host are live; retry later", limits::WORKERS_MAX)
            }
            Self::Throttled(Throttle::Cores) => {
                "this app computes on every core, and others were before it; retry later".into()
            }
            Self::TimedOut(limit) => {
                format!("the function did not finish within its timeout of {} ms", limit.as_millis())
            }
            Self::Trapped(_) => "the function trapped; see 'wfn logs'".into(),
            Self::MemoryLimit(_) => "the function ran out of its memory; see 'wfn logs'".into(),
            Self::NoResponse => {
                "the function returned without a response; a program has to write header lines, an \
                                 empty line and the body to its standard output (CGI)"
                    .into()
            }
            Self::InvalidResponse(why) => {
                format!("the function's response is not valid: {why}; see 'wfn logs'")
            }
            Self::BadBody(error) => error.to_string(),
            Self::StartFailed(_) => "the function could not be started; see 'wfn logs'".into(),
            Self::WorkerLost(why) => format!("the function's worker ended under it: {why}"),
            Self::HostFailed => "the host failed while it served the function; its log says more".into(),
            Self::Cancelled => "the client went away".into(),
        }
    }

    /// Whether it counts as failed in `wfn status`.
    pub fn is_failure(&self) -> bool {
        is_failure(self.code())
    }

    /// Whether an invocation may have ended so because its request's body failed.
    pub fn may_follow_from_body(&self) -> bool {
        matches!(
            self,
            Self::Trapped(_) | Self::NoResponse | Self::InvalidResponse(_) | Self::BadBody(BodyError::Broken)
        )
    }
}

/// Whether the outcome `word`, one of [`Outcome::CODES`], counts as failed: those that a caller's request alone cannot cause.
pub fn is_failure(code: &str) -> bool {
    !matches!(
        code,
        "answered"
            | "throttled"
            | "cancelled"
            | "body-too-large"
            | "body-too-slow"
            | "body-broken"
            | "length-required"
    )
}

/// How an invocation failed, with details that only the app's owner may see.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The way the invocation ends.
    pub outcome: Outcome,
    /// For the app's log: the guest's backtrace and the chain of causes.
    pub detail: String,
}

impl Fault {
    /// A fault about which there is nothing more to say.
    pub fn plain(outcome: Outcome) -> Self {
        let detail = outcome.message();
        Self { outcome, detail }
    }

    /// The answer is none, because of `why`; `detail` is for the app's log alone and may be the guest's own words.
    pub fn invalid_response(why: &'static str, detail: String) -> Self {
        Self { outcome: Outcome::InvalidResponse(why), detail }
    }

    /// The guest gave an error instead of an answer, and `said` so.
    pub fn answered_with_error(said: &str) -> Self {
        let detail = format!("the function answered with the error {said}");
        Self::invalid_response("the function answered with an error", detail)
    }

    /// The deadline passed; `what` says when.
    pub fn timed_out(timeout: Duration, what: &str) -> Self {
        Self { outcome: Outcome::TimedOut(timeout), detail: format!("the deadline passed {what}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_do_not_repeat_and_print_as_their_digits() {
        let ids: HashSet<_> = (0..100_000).map(|_| InvocationId::next()).collect();
        assert_eq!(ids.len(), 100_000);
        let id = InvocationId::next();
        assert_eq!(id.to_string().as_bytes(), id.digits());
    }

    #[test]
    fn shares_are_spread_over_0_to_1() {
        let shares: Vec<f64> = (0..10_000).map(|_| random_share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        for tenth in 0..10 {
            let (from, to) = (f64::from(tenth) / 10.0, f64::from(tenth + 1) / 10.0);
            let count = shares.iter().filter(|share| (from..to).contains(*share)).count();
            assert!((800..1_200).contains(&count), "{count} from {from} to {to}");
        }
    }
}
