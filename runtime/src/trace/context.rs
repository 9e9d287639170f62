//! Holds the place of a piece of work in its trace, as in W3C Trace Context, and whether the trace is recorded.
//!
//! Pure: randomness comes from a function of the caller, which returns 64 evenly spread bits at each call.

use http::HeaderName;

/// Carries a [`TraceContext`], in requests to this host and from it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Bytes of the header in version 00, the only one that is written.
const HEADER_BYTES: usize = 55;
/// Positions at which its fields end.
const DASHES: [usize; 3] = [2, 35, 52];
/// The lowest of its flags: the caller has recorded its part of the trace.
const SAMPLED: u8 = 1;

/// One place in one trace. Neither id is all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the whole trace.
    pub trace_id: [u8; 16],
    /// Names the piece of work.
    pub span_id: [u8; 8],
    /// Whether it is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads the header (W3C Trace Context, level 1). `None` means that there is no parent: a header that cannot be read is
    /// ignored. Later versions may add fields at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.as_bytes().split_first_chunk::<HEADER_BYTES>()?;
        let [version] = read_digits(&head[..2])?;
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        if !ends_well || DASHES.iter().any(|at| head[*at] != b'-') {
            return None;
        }
        let trace_id = read_digits(&head[3..35])?;
        let span_id = read_digits(&head[36..52])?;
        let [flags] = read_digits(&head[53..])?;
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// Returns the header for requests that follow from this, in version 00 and visible ASCII, without allocating.
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let mut text = [b'-'; HEADER_BYTES];
        write_digits(&[0], &mut text[..2]);
        write_digits(&self.trace_id, &mut text[3..35]);
        write_digits(&self.span_id, &mut text[36..52]);
        write_digits(&[if self.sampled { SAMPLED } else { 0 }], &mut text[53..]);
        text
    }

    /// Makes a piece of work within this one.
    pub fn child(self, mut random: impl FnMut() -> u64) -> Self {
        Self { span_id: new_span_id(&mut random), ..self }
    }

    /// Makes the first piece of work of a new trace.
    fn root(mut random: impl FnMut() -> u64, sampler: TraceSampler) -> Self {
        let [high, low] = [random(), random().max(1)];
        let trace_id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Self { trace_id, span_id: new_span_id(&mut random), sampled: sampler.takes(low) }
    }
}

/// Decides which traces are recorded.
#[derive(Debug, Clone, Copy)]
pub struct TraceSampler {
    /// The least of the 2^56 random values of a trace that is recorded.
    threshold: u64,
}

/// How many values the random part of a trace id has: its last seven bytes (W3C Trace Context, level 2).
const RANDOM_VALUES: u64 = 1 << 56;

impl TraceSampler {
    /// Takes this share of the traces that begin here: 0 for none, 1 for all, and what lies beyond counts as these.
    pub fn new(ratio: f64) -> Self {
        let taken = ratio.clamp(0.0, 1.0) * RANDOM_VALUES as f64;
        Self { threshold: RANDOM_VALUES - taken as u64 }
    }

    /// The context of a request: within what led to it, whose caller has decided, or the begin of a trace.
    pub fn context(self, parent: Option<TraceContext>, random: impl FnMut() -> u64) -> TraceContext {
        match parent {
            Some(parent) => parent.child(random),
            None => TraceContext::root(random, self),
        }
    }

    /// By the last 64 bits of a trace id. All who go by OpenTelemetry's consistent probability sampling find the same
    /// for the same id and ratio, and take at a higher ratio what they take at a lower one.
    fn takes(self, id_low: u64) -> bool {
        id_low % RANDOM_VALUES >= self.threshold
    }
}

/// All zero is no id.
fn new_span_id(random: &mut impl FnMut() -> u64) -> [u8; 8] {
    random().max(1).to_be_bytes()
}

/// Bytes as lower-case hexadecimal digits, two for each.
pub(super) fn write_digits(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// `None` unless all are lower-case hexadecimal digits.
fn read_digits<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

/// The place of an invocation in its trace.
#[derive(Debug, Clone, Copy)]
pub struct Traced {
    /// What goes out with its requests.
    pub context: TraceContext,
    /// The piece of work that led to it.
    pub parent: Option<[u8; 8]>,
    /// Whether it is a piece of work of its own, and not just passed on.
    pub is_own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Another number at each call.
    fn counter(mut from: u64) -> impl FnMut() -> u64 {
        move || {
            from = from.wrapping_add(0x9e37_79b9_7f4a_7c15);
            from ^ from >> 29
        }
    }

    /// Whether one of four takes the trace whose random value this is.
    fn is_taken(value: u64) -> bool {
        TraceSampler::new(0.25).context(None, || value).sampled
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
        assert_eq!(context.span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert!(context.sampled);
        assert_eq!(context.header(), EXAMPLE.as_bytes());
    }

    #[test]
    fn only_the_lowest_flag_says_sampled_and_no_other_is_passed_on() {
        for (flags, sampled, written) in [("00", false, "00"), ("09", true, "01"), ("fe", false, "00")] {
            let context = TraceContext::parse(&format!("{}{flags}", &EXAMPLE[..53])).unwrap();
            assert_eq!(context.sampled, sampled, "{flags}");
            assert_eq!(context.header(), format!("{}{written}", &EXAMPLE[..53]).as_bytes());
        }
    }

    #[test]
    fn what_the_standard_forbids_is_ignored() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let forbidden = [
            String::new(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-"),
            format!(" {EXAMPLE}"),
            format!("{EXAMPLE} "),
            format!("ff{}", &EXAMPLE[2..]),
            format!("FE{}", &EXAMPLE[2..]),
            format!("cc{}.", &EXAMPLE[2..]),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replace('-', "_"),
            zero_trace,
            zero_span,
        ];
        for text in forbidden {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn any_changed_byte_is_read_as_itself_or_not_at_all() {
        for at in 0..EXAMPLE.len() {
            for byte in 0..=127 {
                let mut text = EXAMPLE.as_bytes().to_vec();
                text[at] = byte;
                if let Some(context) = TraceContext::parse(str::from_utf8(&text).unwrap()) {
                    // Version and flags are written as they are known here.
                    assert_eq!(context.header()[2..53], text[2..53]);
                }
            }
        }
    }

    #[test]
    fn versions_to_come_may_say_more_at_the_end() {
        let known = TraceContext::parse(EXAMPLE);
        for (version, end) in [("01", ""), ("cc", "-what-the-future-will-be-like"), ("fe", "-")] {
            let text = format!("{version}{}{end}", &EXAMPLE[2..]);
            assert_eq!(TraceContext::parse(&text), known, "{text}");
        }
    }

    #[test]
    fn a_request_follows_its_caller_whatever_the_ratio_is() {
        for sampled in [true, false] {
            let parent = TraceContext { sampled, ..TraceContext::parse(EXAMPLE).unwrap() };
            let context = TraceSampler::new(if sampled { 0.0 } else { 1.0 }).context(Some(parent), || 7);
            assert_eq!((context.trace_id, context.sampled), (parent.trace_id, sampled));
            assert_eq!(context.span_id, [0, 0, 0, 0, 0, 0, 0, 7]);
        }
    }

    #[test]
    fn ids_are_never_zero() {
        let context = TraceSampler::new(1.0).context(None, || 0);
        assert_eq!(TraceContext::parse(str::from_utf8(&context.header()).unwrap()), Some(context));
        assert_ne!(context.child(|| 0).span_id, [0; 8]);
    }

    #[test]
    fn the_last_56_bits_of_the_id_decide() {
        assert!(is_taken(0xc0_0000_0000_0000), "a quarter: from three quarters of the values on");
        assert!(!is_taken(0xbf_ffff_ffff_ffff));
        assert!(!is_taken(0xff00_0000_0000_0000), "the first byte does not count");
    }

    #[test]
    fn none_and_all_and_what_lies_beyond() {
        for (ratio, taken) in [(0.0, false), (-1.0, false), (f64::NAN, false), (1.0, true), (9.0, true)] {
            for value in [1, RANDOM_VALUES - 1] {
                assert_eq!(TraceSampler::new(ratio).takes(value), taken, "{ratio} {value}");
            }
        }
    }

    #[test]
    fn the_share_that_is_taken_is_the_ratio() {
        let mut random = counter(1);
        let sampler = TraceSampler::new(0.1);
        let taken = (0..20_000).filter(|_| sampler.context(None, &mut random).sampled).count();
        assert!((1_800..2_200).contains(&taken), "{taken}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace_id in any::<u128>(), span_id in any::<u64>(), sampled: bool) {
            prop_assume!(trace_id != 0 && span_id != 0);
            let context = TraceContext {
                trace_id: trace_id.to_be_bytes(), span_id: span_id.to_be_bytes(), sampled,
            };
            let header = context.header();
            prop_assert_eq!(TraceContext::parse(str::from_utf8(&header).unwrap()), Some(context));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,70}") {
            TraceContext::parse(&text);
        }

        #[test]
        fn a_higher_ratio_takes_all_that_a_lower_one_takes(low in 0f64..1.0, more in 0f64..1.0, id: u64) {
            let high = low + (1.0 - low) * more;
            prop_assert!(!TraceSampler::new(low).takes(id) || TraceSampler::new(high).takes(id));
        }
    }
}
