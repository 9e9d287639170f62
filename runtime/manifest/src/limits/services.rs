//! Limits of the host's own services: identity, keys from passwords, key-value stores, blobs and queues.

use std::time::Duration;

use super::{CONCURRENCY_MAX, MEBIBYTE};

// ── identity ─────────────────────────────────────────────────────────────────────────────────────

/// How long a token of an app is valid: long enough for a queue of calls, short enough if it is stolen.
pub const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// How long a signing key signs.
pub const SIGNING_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a replaced key stays published: its last token, and a day for clocks and caches.
pub const SIGNING_KEY_PUBLISHED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Bytes of an audience: a URL.
pub const AUDIENCE_BYTES_MAX: usize = 512;

// ── keys from passwords ────────────────────────────────────────────────────────────────────────────

/// Longest password or salt. Passwords of people are shorter; what a program derives keys from is a hash at most.
pub const KDF_INPUT_BYTES_MAX: usize = 4 * 1024;
/// Longest key. No method of a framework makes more than 64 bytes.
pub const KDF_LENGTH_MAX: usize = 1_024;
/// Most iterations of PBKDF2: ten times Django's; 3 s of a core.
pub const KDF_ITERATIONS_MAX: u32 = 10_000_000;
/// Most memory of scrypt (128 n r): passlib's default, and twice what OpenSSL allows unasked.
pub const SCRYPT_BYTES_MAX: u64 = 64 * MEBIBYTE;
/// Most n r p of scrypt: eight times Werkzeug's; about a second of a core.
pub const SCRYPT_WORK_MAX: u64 = 1 << 21;

// ── key-value stores ─────────────────────────────────────────────────────────────────────────────

/// Stores of one kind that an app may name, and other apps that it may share one of its own with.
pub const STORES_MAX: usize = 32;
/// Bytes of a key, as UTF-8: each is kept twice, in its entry and in the index.
pub const KEY_VALUE_KEY_BYTES_MAX: usize = 512;
/// Bytes of a value: it is held whole while it is read or written, and every write is one for the disk.
pub const KEY_VALUE_VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Keys of all stores of one app.
pub const KEY_VALUE_KEYS_PER_APP_MAX: u64 = 1_000_000;
/// Bytes of all keys and values of one app: apps share one file, and one disk.
pub const KEY_VALUE_BYTES_PER_APP_MAX: u64 = 1024 * MEBIBYTE;
/// Keys of one page of a list: with the longest keys half a megabyte.
pub const KEY_VALUE_PAGE_MAX: usize = 1_000;
/// Keys of one batch: it is one change, and all other changes wait for it.
pub const KEY_VALUE_BATCH_MAX: usize = 256;
/// Bytes of one batch, both ways: half of what a host call may copy.
pub const KEY_VALUE_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one revision that wait in the host's memory, to be written or to be taken by the guest. More are refused,
/// or not read yet.
pub const KEY_VALUE_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries of a dropped store that are removed at once: all of them together would keep other changes waiting.
pub const KEY_VALUE_SWEEP_MAX: usize = 100;

// ── blobs ────────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a blob's name, as UTF-8: what S3 takes.
pub const BLOB_NAME_BYTES_MAX: usize = 1_024;
/// Bytes of one blob: 5 GB is the most that S3 takes in one piece, and copies at once.
pub const BLOB_BYTES_MAX: u64 = 5_000_000_000;
/// Blobs of all containers of one app.
pub const BLOBS_PER_APP_MAX: u64 = 1_000_000;
/// Bytes of all blobs of one app: apps share one disk.
pub const BLOB_BYTES_PER_APP_MAX: u64 = 100 * 1024 * MEBIBYTE;
/// Bytes of a blob's `Content-Type`: the longest registered ones have about a hundred.
pub const BLOB_CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Blobs of one page of a list: with the longest names a megabyte.
pub const BLOB_PAGE_MAX: usize = 1_000;
/// Uploads of one revision at once, and of the host's operators: each has a file and a part in memory. More wait.
pub const BLOB_UPLOADS_MAX: usize = 8;
/// Downloads of one revision at once, and of the host's operators: each has a file or a connection, and a chunk in
/// memory. More wait.
pub const BLOB_DOWNLOADS_MAX: usize = 64;
/// Bytes of an upload that are collected before they are written to the disk.
pub const BLOB_FILE_PART_BYTES: usize = 1024 * 1024;
/// Bytes of a part of an upload to S3, the least that S3 accepts. The largest blob has a thousand parts; S3 accepts ten
/// thousand.
pub const BLOB_S3_PART_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of a blob that are read at once.
pub const BLOB_CHUNK_BYTES: usize = 256 * 1024;
/// How long S3 may take until it begins to answer: it answers a part after it has stored it.
pub const BLOB_S3_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request to S3 is repeated, and for how long: the invocation that waits has a deadline of its own.
pub const BLOB_S3_RETRIES: usize = 3;
/// See [`BLOB_S3_RETRIES`].
pub const BLOB_S3_RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Blobs whose bytes are removed between two changes of the database.
pub const BLOB_SWEEP_MAX: usize = 100;

// ── queues ───────────────────────────────────────────────────────────────────────────────────────

/// Bytes of a message's body, as many as the cloud's queues take. Put larger things into a blob and send its name.
pub const QUEUE_MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the name, the session and the media type of a message, each.
pub const QUEUE_PROPERTY_BYTES_MAX: usize = 256;
/// Bytes counted for a message besides its texts and body: its row and its index entries.
pub const QUEUE_MESSAGE_OVERHEAD_BYTES: i64 = 64;
/// Messages of all queues of one app, dead letters among them.
pub const QUEUE_MESSAGES_PER_APP_MAX: i64 = 10_000_000;
/// Bytes of them: apps share one file, and one disk.
pub const QUEUE_BYTES_PER_APP_MAX: i64 = 10 * 1024 * 1024 * 1024;
/// Bytes of one revision that wait in the host's memory to be written.
pub const QUEUE_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest delay of a message, and its longest life: a week.
pub const QUEUE_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the name of a message is remembered. A second message of that name is not stored meanwhile.
pub const QUEUE_DUPLICATES_WINDOW: Duration = Duration::from_secs(600);
/// Functions of one app that triggers call: each is a scale group.
pub const TRIGGERS_MAX: usize = 32;
/// Messages that are fetched at a time when the manifest says nothing (the cloud's default).
pub const QUEUE_BATCH_DEFAULT: u32 = 16;
/// Most messages that are fetched at a time: with as many still in flight they make the largest concurrency of an
/// instance.
pub const QUEUE_BATCH_MAX: u32 = CONCURRENCY_MAX / 2;
/// Bytes of the messages that one function has in flight or waiting for their session: more are not read.
pub const QUEUE_LEASED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages of one function in flight at most: each is held in memory.
pub const QUEUE_IN_FLIGHT_MAX: u32 = 10_000;
/// Deliveries after which a message is a dead letter when the manifest says nothing (SPEC 4.2).
pub const QUEUE_DELIVERIES_DEFAULT: u32 = 5;
/// Most deliveries that a manifest may ask for.
pub const QUEUE_DELIVERIES_MAX: u32 = 1_000;
/// First time between deliveries when the manifest says nothing.
pub const QUEUE_RETRY_DELAY_DEFAULT: Duration = Duration::from_secs(5);
/// Longest time between deliveries when the manifest says nothing.
pub const QUEUE_RETRY_DELAY_MAX_DEFAULT: Duration = Duration::from_secs(600);
/// First pause of a trigger after a limit of the host refused its call, which does not count as a delivery. It doubles
/// with each refusal.
pub const THROTTLED_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause: ten thousand messages of a function then make two thousand attempts a second.
pub const THROTTLED_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Sessions of one function that wait until their first message is delivered again: each is held in memory. While there are
/// as many, no others begin.
pub const QUEUE_SESSIONS_WAITING_MAX: usize = 10_000;
/// Shortest time between two searches for messages whose time to live is over.
pub const QUEUE_EXPIRY_PERIOD: Duration = Duration::from_secs(1);
/// Pause before the next attempt after the database has failed.
pub const QUEUE_DB_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that are read of an answer to a batch: the names of all its messages fit.
pub const QUEUE_BATCH_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are kept of the reason why a delivery failed.
pub const QUEUE_ERROR_BYTES_MAX: usize = 512;
/// Messages of one page of a list.
pub const QUEUE_PAGE_MAX: usize = 100;
/// Messages that are promoted, replayed or removed in one change: all of them together would keep other changes waiting.
pub const QUEUE_SWEEP_MAX: usize = 500;
