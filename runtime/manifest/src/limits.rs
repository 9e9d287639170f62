//! Every limit of the host in one place: a number, its unit and the reason for it.
//!
//! A limit that an operator may change is in `wfn_runtime::config::HostConfig`, with its default here.

mod services;

use std::time::Duration;

pub use self::services::*;

/// Memory classes and the quota are counted in mebibytes ("MB" in flags and files).
pub const MEBIBYTE: u64 = 1024 * 1024;

// ── scale settings of an app (SPEC 2) ────────────────────────────────────────────────────────────

/// Most invocations in flight in one instance that a manifest may ask for.
pub const CONCURRENCY_MAX: u32 = 1_000;
/// Largest dynamic concurrency (SPEC 3.2).
pub const DYNAMIC_CONCURRENCY_MAX: u32 = 500;
/// Most instances a scale group may ask for.
pub const INSTANCES_MAX: u32 = 1_000;
/// Maximum instances of a group whose manifest says nothing.
pub const INSTANCES_DEFAULT: u32 = 100;
/// Instances a group may add at once when the manifest says nothing: a whole group, because making an
/// instance takes some twenty microseconds here.
pub const SCALE_OUT_BURST_DEFAULT: u32 = INSTANCES_MAX;
/// Instances a group may add each second after its burst, when the manifest says nothing. It slows down a group that
/// grows and shrinks all the time.
pub const SCALE_OUT_PER_SECOND_DEFAULT: u32 = 100;
/// Calls from other cores that an asynchronous worker takes before one of these cores gets a worker of its own. Such a call costs
/// some microseconds more than one on the worker's core, and a start costs some tens or hundreds. So a function that is rarely
/// called, from any core, keeps one worker for long.
pub const FAR_CALLS_MAX: u32 = 64;
/// Most workers of one asynchronous instance.
pub const WORKERS_PER_INSTANCE_MAX: u32 = 10;
/// How long an instance above the always-ready ones may stay idle, when the manifest says nothing.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest idle timeout: a day. For longer times there are always-ready instances.
pub const IDLE_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Deadline of one invocation from its begin, when the manifest says nothing.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest deadline of one invocation: an hour, because every slot must become free again.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Environment variables of one app.
pub const ENV_ENTRIES_MAX: usize = 256;
/// Bytes of all environment names and values of one app: each worker holds a copy.
pub const ENV_BYTES_MAX: usize = 64 * 1024;
/// Secrets of one app.
pub const SECRETS_MAX: usize = 128;
/// Bytes of one secret: keys and certificates fit; together they have [`ENV_BYTES_MAX`].
pub const SECRET_BYTES_MAX: usize = 32 * 1024;
/// A secret shorter than this is not removed from logs, because it would remove half of every line.
pub const SECRET_REDACTED_BYTES_MIN: usize = 4;
/// Folders of files that come with one app.
pub const FILE_MOUNTS_MAX: usize = 16;
/// Bytes of the files of one bundle, unpacked.
pub const BUNDLE_BYTES_MAX: u64 = 256 * MEBIBYTE;
/// Bytes of the archive of a bundle: each file has a header of half a kilobyte and up to as much at its end.
pub const BUNDLE_ARCHIVE_BYTES_MAX: u64 = BUNDLE_BYTES_MAX + 32 * MEBIBYTE;
/// Files and folders of one bundle: each is an inode of the data directory.
pub const BUNDLE_ENTRIES_MAX: usize = 20_000;
/// Depth of the folders of a bundle.
pub const BUNDLE_DEPTH_MAX: usize = 32;
/// Bytes of the path of a file in a bundle.
pub const BUNDLE_PATH_BYTES_MAX: usize = 1_024;
/// Size of `/tmp` in MB: memory, and half of the smallest class.
pub const SCRATCH_MB_MAX: u32 = 1_024;
/// Bytes of a `/tmp` for each file, folder or link that it may hold, because each takes up to a kilobyte of the
/// kernel's memory besides its content.
pub const SCRATCH_BYTES_PER_INODE: u64 = 8 * 1024;
/// How long the process that makes a `/tmp` may take to answer. It never waits for anything.
pub const SCRATCH_HELPER_TIMEOUT: Duration = Duration::from_secs(5);
/// Host names one app may claim.
pub const HOSTS_PER_APP_MAX: usize = 64;

// ── the host as a whole ──────────────────────────────────────────────────────────────────────────

/// Default memory quota in MB, shared by all apps (the published regional quota).
pub const MEMORY_QUOTA_MB_DEFAULT: u64 = 512_000;
/// Share of the machine's (or cgroup's) memory that guests may hold, in percent: the rest is for the
/// host itself, the page cache and the kernel.
pub const GUEST_MEMORY_PERCENT: u64 = 75;
/// The share of the machine's memory that the host itself may hold by default, in percent. With that of guests it leaves a part to
/// the kernel's caches and to other programs.
pub const HOST_MEMORY_PERCENT: u64 = 10;
/// The least that the host itself may hold by default: ten thousand connections take 200 MB.
pub const HOST_MEMORY_BYTES_MIN: u64 = 256 * MEBIBYTE;
/// Live workers: the pooling allocator maps about 4 GiB of address space for each (10,000 ≈ 40 TiB of
/// the 128 TiB a process has) and each needs about six of the 65,530 mappings Linux grants by default.
pub const WORKERS_MAX: u32 = 10_000;
/// Live workers of asynchronous guests, each of which runs many invocations; their slots are apart.
pub const ASYNC_WORKERS_MAX: u32 = 1_500;
/// Stacks for what is suspended inside asynchronous workers: one per worker and some for calls that
/// wait without giving up their stack. Each needs two of the mappings Linux grants.
pub const ASYNC_STACKS_MAX: u32 = 2_000;
/// Apps of one host.
pub const APPS_MAX: usize = 10_000;
/// Revisions kept per app for rolling back; the oldest inactive ones are removed beyond that.
pub const REVISIONS_KEPT: usize = 50;
/// Descriptors of the process that are shared out; more are not needed.
pub const DESCRIPTORS_COUNTED_MAX: u64 = 256 * 1024;
/// Files that one worker may have open at a time: what Unix programs count on having.
pub const WORKER_FILES_MAX: u32 = 1_024;
/// Open client connections; beyond it new ones wait in the kernel's backlog.
pub const CONNECTIONS_MAX: usize = 20_000;
/// How long nothing is accepted when descriptors or memory are short: fifty attempts a second cost nothing.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Open connections of the admin listener, if the process may have enough descriptors. At most half of them may be connections
/// that have not shown the token: the oldest of those is closed for the next one. The others are for the operator.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// The same, if the process may have few descriptors.
pub const ADMIN_CONNECTIONS_LEAST: usize = 16;
/// Readers of logs at a time that show the token: each holds a connection as long as it follows a log, and a batch of
/// lines. It is enough for some dashboards and some scripts.
pub const LOG_READERS_MAX: usize = 64;
/// The same for readers that do not show the token.
pub const LOG_READERS_STRANGERS_MAX: usize = 32;

// ── the wait queue of a pool ─────────────────────────────────────────────────────────────────────────

/// Invocations that may wait for a slot of one pool; the next one is answered 429 at once.
pub const WAIT_QUEUE_MAX: usize = 1_024;
/// How long an invocation may wait, for a slot and then for a core, until it is answered 429: less than proxies wait (60 s).
pub const WAIT_MAX: Duration = Duration::from_secs(50);
/// How long a request waits for an app that comes back after the start of the host.
pub const RESTORE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Seconds in `Retry-After`. The wait queue empties within its longest wait.
pub const RETRY_AFTER_SECONDS: u64 = 1;

// ── one worker ───────────────────────────────────────────────────────────────────────────────────

/// Time a guest has from instantiation to being ready, at deploy and for always-ready instances.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory of a worker above which its guest runs on the compute threads from the beginning. One instruction may fill all
/// of it and cannot be interrupted: this much takes an event loop some ten milliseconds.
pub const IN_PLACE_MEMORY_BYTES_MAX: u64 = 32 * MEBIBYTE;
/// How many guests of that size, and starts of unknown length, may compute at a time on threads of their own. Later
/// ones delay the compute threads.
pub const SPARE_COMPUTE_THREADS_MAX: usize = 64;
/// Processor time of a start that may begin on an event loop: what a guest may compute there without yielding.
pub const START_IN_PLACE_MAX: Duration = Duration::from_millis(2);
/// First pause after an always-ready instance that could not be made; each further one is twice as long.
pub const REFILL_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest of these pauses, so that a repaired guest is noticed within a minute.
pub const REFILL_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Period of the epoch ticker: how long a computing guest may hold an event loop at most.
/// Measured: 10 ms costs neighbours 20 ms of p99, 1 ms costs 5 ms.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);
/// Processor time after which an invocation no longer keeps others of its pool from beginning: a page in Python takes a tenth.
pub const RUN_COUNTED_MAX: Duration = Duration::from_millis(100);
/// An asynchronous guest that computes for this long without yielding while others wait is reported (SPEC 2.11).
pub const COMPUTE_STRETCH_REPORTED: Duration = Duration::from_millis(50);
/// A worker that holds more memory than this is not dropped on an event loop: the kernel frees about a
/// gigabyte in 100 ms, so this takes less than a tick.
pub const INLINE_DROP_BYTES_MAX: u64 = 8 * MEBIBYTE;
/// Invocations one reused worker may serve before a fresh one takes its place: bounds what slow leaks
/// inside a guest can do; one instantiation in 100,000 calls is not measurable.
pub const WORKER_USES_MAX: u32 = 100_000;
/// Resource handles a worker may hold at all.
pub const WORKER_HANDLES_MAX: usize = 4_096;
/// Resource handles a worker may still hold after an invocation; above it is not reused.
pub const WORKER_HANDLES_KEPT_MAX: usize = 64;
/// Entries of one guest table; interpreters declare about 8,000.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Bytes that are charged for one of them: a pointer.
pub const TABLE_ELEMENT_BYTES: u64 = 8;
/// Bytes that the host counts for each object that it holds for a guest: its entry in the guest's table, and itself.
pub const OBJECT_BYTES: usize = 256;
/// Bytes counted for a header field besides its name and value.
pub const FIELD_BYTES: usize = 64;
/// Bytes that the host may hold for a worker without charging them. Usual guests stay below this, so the counting costs
/// them nothing.
pub const OBJECTS_UNCHARGED_BYTES: u64 = 64 * 1024;
/// Bytes of a method, scheme, authority or path that a guest sets: what the library can parse at all.
pub const REQUEST_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes one host call may copy out of a guest (the library's own default is 128 MiB).
pub const HOSTCALL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Random bytes one call may ask for.
pub const RANDOM_BYTES_MAX: u64 = 1024 * 1024;

// ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────

/// Time from the first byte of a request's head to its end.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the handshake of a TLS connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS handshakes that a listener has under way: the oldest gives way to one more. Each holds about 20 KB, and a client that is not slow
/// takes milliseconds.
pub const HANDSHAKES_MAX: usize = 2_000;
/// How long a connection may stay open without a request.
pub const CONNECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a write to a client may make no progress.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Slowest request body that is tolerated, after [`BODY_GRACE`].
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 500;
/// Time a request body has before its rate is checked.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// How long a connection that this side has ended is still read, so that its client can take the answer (as nginx
/// does).
pub const LINGER_MAX: Duration = Duration::from_secs(30);
/// The same for a client that sends nothing meanwhile.
pub const LINGER_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Bytes of answers that are collected before they are sent; what is longer is sent as it is, without a copy.
pub const SENT_TOGETHER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a request's head (and of hyper's read buffer).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of a request or a response.
pub const HEADERS_MAX: usize = 128;
/// Bytes of a response's header names and values.
pub const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one request body (the published limit of the cloud's plan is 210 MB; ours streams).
pub const REQUEST_BODY_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// A request body up to this length is read before a slot is taken: a slow client then costs no slot.
pub const BODY_WHOLE_BYTES_MAX: u64 = 128 * 1024;
/// A body without a length is collected for a program up to this many bytes, because a program must know the length (RFC 3875,
/// 4.1.2). It is for clients that do not know the length beforehand; each such body is in memory.
pub const COMMAND_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Response chunks buffered between guest and client; small bodies fit whole.
pub const RESPONSE_CHUNKS: usize = 4;
/// Bytes of one such chunk.
pub const RESPONSE_CHUNK_BYTES: usize = 256 * 1024;
/// Concurrent streams of one HTTP/2 connection.
pub const H2_STREAMS_MAX: u32 = 128;
/// Streams a peer may reset before hyper closes the connection (rapid reset).
pub const H2_RESETS_MAX: usize = 64;

// ── outbound requests ────────────────────────────────────────────────────────────────────────────

/// Entries of `allowed_outbound_hosts`: each request is compared with them in turn.
pub const OUTBOUND_HOSTS_MAX: usize = 128;
/// Bytes of one entry: a name has at most 253.
pub const OUTBOUND_HOST_BYTES_MAX: usize = 512;
/// Bytes of a request's path and query: what servers take (nginx 8 KiB, most proxies 32).
pub const OUTBOUND_PATH_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a request's body that are looked at before it is sent, so that a small one goes with its length.
pub const OUTBOUND_MEASURED_BYTES_MAX: u64 = 64 * 1024;
/// How long to wait for the first bytes of a request's body, so that an empty body can be sent as empty.
pub const OUTBOUND_BODY_WAIT_MAX: Duration = Duration::from_millis(250);
/// Open outbound connections of one app: one request each with HTTP/1.1.
pub const OUTBOUND_CONNECTIONS_PER_APP_MAX: usize = 2_000;
/// Open outbound connections of the host: each is a file, and an ephemeral port towards one server.
pub const OUTBOUND_CONNECTIONS_MAX: usize = 10_000;
/// Idle connections kept for one server.
pub const OUTBOUND_IDLE_PER_HOST_MAX: usize = 1_000;
/// How long an idle connection is kept: shorter than the 60 s after which most servers close theirs.
pub const OUTBOUND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to look a name up, and again to connect.
pub const OUTBOUND_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Names looked up at once: each blocks a thread.
pub const OUTBOUND_LOOKUPS_MAX: usize = 64;

/// Connections that one program of preview 1 may have open: each is two descriptors of the host.
pub const COMMAND_CONNECTIONS_MAX: usize = 64;

/// Longest chain of calls from app to app: a longer one is taken for a loop.
pub const CALL_DEPTH_MAX: u32 = 16;

// ── timers ───────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a schedule: all six fields with every value listed have some 500, and nobody writes that.
pub const SCHEDULE_BYTES_MAX: usize = 256;
/// Bytes of a time zone's name: the longest of the database has 32.
pub const TIME_ZONE_BYTES_MAX: usize = 64;
/// Missed occurrences that get a run each. If there are more, the latest ones do.
pub const MISSED_RUNS_MAX: usize = 100;
/// How late a run may start without being past due: a wake-up, a group commit and a cold start take less.
pub const TIMER_PAST_DUE_AFTER: Duration = Duration::from_secs(1);
/// Longest jitter, by which runs are delayed to spread them: a day.
pub const TIMER_JITTER_MAX: Duration = Duration::from_secs(24 * 3600);

// ── uploads, compiling and the database ──────────────────────────────────────────────────────────

/// Bytes of one uploaded module.
pub const MODULE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of any other admin request body.
pub const ADMIN_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Wall-clock time of one compilation, which has a lower priority than what serves.
pub const COMPILE_TIMEOUT: Duration = Duration::from_secs(300);
/// CPU seconds of one compilation.
pub const COMPILE_CPU_SECONDS: u64 = 60;
/// Modules from this size on take seconds to compile, so that their compiled functions are kept for the next deploy.
pub const FUNCTIONS_KEPT_MODULE_BYTES_MIN: u64 = 2 * MEBIBYTE;
/// Address space of the compiling child: a 410 KB module was measured to take 4 GB.
pub const COMPILE_MEMORY_BYTES: u64 = 4 * 1024 * MEBIBYTE;
/// Bytes of compiled functions that are kept of an app for its next compilation; those of CPython take some 50 MB.
pub const FUNCTION_CACHE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of machine code of one module.
pub const ARTIFACT_BYTES_MAX: u64 = 1024 * MEBIBYTE;
/// Address space of the child that unpacks a bundle: it holds one name and one piece of a file at a time.
pub const UNPACK_MEMORY_BYTES: u64 = 1024 * MEBIBYTE;
/// CPU seconds of unpacking a bundle: the largest one takes about one.
pub const UNPACK_CPU_SECONDS: u64 = 30;
/// Wall-clock time of unpacking a bundle: enough for a slow disk to write 256 MB.
pub const UNPACK_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes that are read of a child's answer, and of its last output: its longest answer has a fifth of this.
pub const CHILD_ANSWER_BYTES_MAX: u64 = 128 * 1024;
/// Characters of a message that contains text from outside.
pub const MESSAGE_CHARS_MAX: usize = 2_000;
/// Names from a module that a message lists. Of the others it gives the number.
pub const NAMES_SHOWN_MAX: usize = 64;
/// Characters of such a name.
pub const NAME_SHOWN_CHARS_MAX: usize = 120;
/// Deployments that may wait for the compiler; the next one is answered 429.
pub const COMPILE_QUEUE_MAX: usize = 16;
/// Changes in one group commit, and as many waiting for the next.
pub const GROUP_COMMIT_MAX: usize = 256;
/// Reads of the database at once: each blocks a thread, mostly for some microseconds.
pub const DB_READERS_MAX: usize = 4;

// ── logs ─────────────────────────────────────────────────────────────────────────────────────────

/// Lines kept per app.
pub const LOG_LINES_MAX: usize = 10_000;
/// Bytes kept per app.
pub const LOG_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one line; longer ones are cut into several.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// Lines of guest output kept per second and app: what a person or a tool can still read; the others are counted.
pub const LOG_LINES_PER_SECOND: u32 = 5_000;
/// Bytes of guest output kept per second and app.
pub const LOG_BYTES_PER_SECOND: usize = 2 * 1024 * 1024;
/// Invocations kept per second and app that did not fail: all if there are few, otherwise a sample. More than a person
/// can read is not worth it: with a thousand busy apps, keeping a hundred took a tenth of the host's work.
pub const RECORDS_PER_SECOND: u32 = 25;
/// Invocations kept per app that did not fail: those of at least forty seconds.
pub const RECORDS_MAX: usize = 1_000;
/// Failed invocations kept per second and app; each may have a backtrace.
pub const FAILED_RECORDS_PER_SECOND: u32 = 20;
/// Failed invocations kept per app.
pub const FAILED_RECORDS_MAX: usize = 200;
/// Bytes of the path of a kept invocation.
pub const RECORD_PATH_BYTES_MAX: usize = 256;
/// Bytes of the reason, with backtrace, of a kept invocation that failed.
pub const RECORD_DETAIL_BYTES_MAX: usize = 4 * 1024;
/// Days of which usage is kept: a year, and a month to compare it with the year before.
pub const USAGE_DAYS_KEPT: u32 = 400;
/// Rows of usage that wait to be stored before the hours of a group are added up: some ten megabytes.
pub const USAGE_ROWS_UNSTORED_MAX: usize = 65_536;
/// Time between two writes of usage: what a kill loses at most.
pub const USAGE_PERIOD: Duration = Duration::from_secs(5);
/// Seconds that the graphs of a group show.
pub const SERIES_SECONDS: usize = 300;

/// Scale decisions kept per app: enough for a scale-out to the maximum in steps, and what came before it.
pub const SCALE_DECISIONS_MAX: usize = 256;

// ── traces ───────────────────────────────────────────────────────────────────────────────────────

/// Attributes of one span: with [`SPAN_TEXT_BYTES_MAX`] a batch stays below the 20 MiB that collectors accept.
pub const SPAN_ATTRIBUTES_MAX: usize = 16;
/// Bytes of a span's name, of its error and of each attribute; longer text is cut.
pub const SPAN_TEXT_BYTES_MAX: usize = 1_024;
/// Characters of a `tracestate` that are passed on: the least that W3C Trace Context asks for.
pub const TRACE_STATE_BYTES_MAX: usize = 512;
/// Members of a `tracestate` (W3C Trace Context, 3.3.1.1); one with more is dropped.
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;
/// Traces that begin here and are sent each second, about, when no share is configured: a collector then costs a host
/// less than 3 % of its busiest function.
pub const TRACES_PER_SECOND: u32 = 100;
/// Spans that wait to be sent; more are dropped and counted. Some five megabytes, as spans usually are.
pub const TRACE_QUEUE_MAX: usize = 8_192;
/// Spans of one request to the collector.
pub const TRACE_BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
pub const TRACE_BATCH_WAIT: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
pub const TRACE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// No attempt begins later than this after the first of the same batch; then the batch is dropped.
pub const TRACE_RETRY_MAX: Duration = Duration::from_secs(60);
/// First pause after a failed attempt; each further one is twice as long.
pub const TRACE_PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause between attempts that the host takes by itself.
pub const TRACE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest pause that the collector may ask for: half of what a batch has.
pub const TRACE_RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer of the collector, which has a count and a short message.
pub const TRACE_ANSWER_BYTES_MAX: usize = 64 * 1024;

// ── ending ───────────────────────────────────────────────────────────────────────────────────────

/// How long a starting host waits for its apps before it says that it serves; those that take longer come back later.
pub const RESTORE_AWAITED: Duration = Duration::from_secs(2);
/// How long running invocations have at shutdown.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
