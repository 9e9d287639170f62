//! Gets certificates from an authority by ACME for every host name that an app claims, and renews them in time (SPEC 10.1).
//!
//! One order is under way at a time. What must not be lost is kept before each step, so that a host that is killed goes on where it
//! was. As long as the authority refuses, is away, or answers nonsense, the certificates that there are go on being served.

pub mod authority;
pub mod schedule;
pub mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::acme::authority::{Authority, OrderError};
use crate::acme::schedule::Pace;
use crate::acme::store::{Known, Pem, Store};
use crate::clock;
use crate::persist::error::DbError;
use crate::text;
use crate::tls;
use crate::tls::certificate::Certificate;
use crate::tls::certificates::{Certificates, Source};
use crate::tls::challenges::Challenges;

/// How often it is looked which names are claimed.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Time for one order, after which another name has its turn.
const ORDER_TIMEOUT: Duration = Duration::from_secs(240);
/// How often an authority is asked when it wants a certificate renewed, in seconds.
const ASK_PERIOD: i64 = 6 * 3_600;

/// Which authority is asked.
#[derive(Debug, Clone)]
pub struct AcmeConfig {
    /// The URL of its directory.
    pub directory: String,
    /// Where it may write to, as `mailto:…`.
    pub contact: Option<String>,
    /// Roots that its own certificate is checked with, as PEM. `None`: those of the system.
    pub roots: Option<Vec<u8>>,
}

/// What is known of one name, for people.
#[derive(Debug, Clone)]
pub struct Status {
    /// The name.
    pub name: String,
    /// When it is ordered or renewed next, in seconds since 1970.
    pub next: i64,
    /// Attempts that have failed since the last success.
    pub failures: u32,
    /// Why the last one has.
    pub error: Option<String>,
}

/// Gets and renews certificates. One for a host.
pub struct Acme {
    config: AcmeConfig,
    store: Store,
    challenges: Arc<Challenges>,
    certificates: Arc<Certificates>,
    /// The host names that apps claim.
    claimed: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Known>,
    /// The certificates of them, read.
    served: HashMap<String, Arc<Certificate>>,
    /// How many orders may begin.
    pace: Pace,
    /// When the authority wants them renewed, and when it was asked.
    wanted: HashMap<String, (Option<i64>, i64)>,
}

impl Acme {
    /// Reads what is kept in `store` and serves its certificates.
    pub async fn open(
        config: AcmeConfig,
        store: Store,
        challenges: Arc<Challenges>,
        certificates: Arc<Certificates>,
        claimed: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    ) -> Result<Arc<Self>, DbError> {
        let (_, names) = store.read().await?;
        let mut state = State::default();
        for (name, known) in names {
            if let Some(Ok(certificate)) = known.certificate.as_ref().map(read) {
                state.served.insert(name.clone(), Arc::new(certificate));
            }
            state.names.insert(name, known);
        }
        certificates.replace(Source::Acme, state.served.values().cloned().collect());
        let (state, changed) = (Mutex::new(state), Notify::new());
        Ok(Arc::new(Self { config, store, challenges, certificates, claimed, state, changed }))
    }

    /// Orders and renews as it becomes due. Never ends.
    pub async fn run(&self) {
        let mut authority = None;
        loop {
            let now = now_s();
            let due = self
                .statuses()
                .into_iter()
                .filter(|status| status.next <= now)
                .min_by_key(|status| status.next);
            let due = due.filter(|_| self.state.lock().pace.may_order(now));
            let Some(due) = due else {
                if let Some(authority) = &authority {
                    self.ask_for_renewals(authority, now).await;
                }
                // Whichever comes first: a name may be claimed, become due, or be asked for.
                let _ = timeout(LOOK_PERIOD, self.changed.notified()).await;
                continue;
            };
            let done = timeout(ORDER_TIMEOUT, self.renew(&mut authority, &due.name)).await;
            let done = done.unwrap_or(Err(OrderError::Authority(instant_acme::Error::Timeout(None))));
            if let Err(error) = done {
                self.note_failure(&due.name, &error).await;
                // Perhaps the account is gone.
                authority = None;
            }
        }
    }

    /// Returns the names that are due sometime: those that apps claim and no file of the operator is for.
    pub fn statuses(&self) -> Vec<Status> {
        let mut claimed = (self.claimed)();
        // An authority gives no certificate for a name without a dot.
        claimed.retain(|name| name.contains('.') && self.certificates.source_of(name) != Some(Source::Files));
        let state = self.state.lock();
        claimed.into_iter().map(|name| state.status(name)).collect()
    }

    /// Lets `name` be renewed at once. `false` if no app claims it.
    pub fn renew_now(&self, name: &str) -> bool {
        if !self.statuses().iter().any(|status| status.name == name) {
            return false;
        }
        let mut state = self.state.lock();
        state.wanted.insert(name.to_owned(), (Some(0), now_s()));
        state.names.entry(name.to_owned()).or_default().next_try = 0;
        self.changed.notify_one();
        true
    }

    async fn renew(&self, authority: &mut Option<Authority>, name: &str) -> Result<(), OrderError> {
        let authority = match authority {
            Some(authority) => authority,
            none => none.insert(self.open_account().await?),
        };
        let known = self.state.lock().names.get(name).cloned().unwrap_or_default();
        let begun = authority.begin(name, known.order.as_ref()).await?;
        self.state.lock().pace.begun(now_s());
        // Before the next step, so that nothing is ordered twice. Where one kind of check has failed, the other one is tried.
        let (kept, prefers_http) = (begun.kept(), known.failures % 2 == 1);
        self.keep(name, Known { order: Some(kept), ..known }).await?;
        let completed = authority.complete(name, begun, prefers_http).await.and_then(|pem| {
            let certificate = read(&pem).map_err(|error| OrderError::Key(error.to_string()))?;
            if certificate.is_for(name) { Ok((pem, certificate)) } else { Err(OrderError::Refused) }
        });
        let (pem, certificate) = match completed {
            Err(OrderError::Refused) => {
                self.state.lock().names.entry(name.to_owned()).or_default().order = None;
                return Err(OrderError::Refused);
            }
            completed => completed?,
        };
        let known = Known { certificate: Some(pem), ..Known::default() };
        self.keep(name, known).await?;
        let all = {
            let mut state = self.state.lock();
            state.served.insert(name.to_owned(), Arc::new(certificate));
            state.wanted.remove(name);
            state.served.values().cloned().collect()
        };
        self.certificates.replace(Source::Acme, all);
        tracing::info!("{name} has a new certificate");
        Ok(())
    }

    async fn open_account(&self) -> Result<Authority, OrderError> {
        let (account, _) = self.store.read().await?;
        let key = match account {
            Some(key) => key,
            None => {
                let key = Authority::new_key()?;
                self.store.keep_account(&key).await?;
                key
            }
        };
        let client = match &self.config.roots {
            None => tls::http_client(),
            Some(roots) => tls::http_client_with(tls::of_roots(roots).map_err(OrderError::Key)?),
        };
        let AcmeConfig { directory, contact, .. } = &self.config;
        Authority::open(directory, &key, contact.as_deref(), client, self.challenges.clone()).await
    }

    async fn ask_for_renewals(&self, authority: &Authority, now: i64) {
        let one = {
            let state = self.state.lock();
            let asked = |name: &str| state.wanted.get(name).map_or(i64::MIN, |(_, asked)| *asked);
            let due = state.served.iter().find(|(name, _)| asked(name).saturating_add(ASK_PERIOD) <= now);
            due.map(|(name, certificate)| (name.clone(), certificate.clone()))
        };
        let Some((name, certificate)) = one else { return };
        let Some(first) = certificate.key.cert.first() else { return };
        let wanted = authority.renewal(first, share(&name)).await;
        self.state.lock().wanted.insert(name, (wanted, now));
    }

    async fn note_failure(&self, name: &str, error: &OrderError) {
        let now = now_s();
        let known = {
            let mut state = self.state.lock();
            let known = state.names.entry(name.to_owned()).or_default();
            known.failures = known.failures.saturating_add(1);
            known.next_try = schedule::next_try(now, known.failures, error.is_rate_limited(), share(name));
            known.error = Some(text::plain(&error.to_string()));
            let known = known.clone();
            if error.is_rate_limited() {
                state.pace.rest(now);
            }
            known
        };
        let minutes = (known.next_try - now).max(0) / 60;
        let why = known.error.as_deref().unwrap_or_default();
        tracing::warn!("{name} got no certificate, next try in {minutes} min: {why}");
        if let Err(error) = self.store.keep(name, &known).await {
            tracing::error!("keep what is known of the certificate for {name}: {error}");
        }
    }

    async fn keep(&self, name: &str, known: Known) -> Result<(), DbError> {
        self.store.keep(name, &known).await?;
        self.state.lock().names.insert(name.to_owned(), known);
        Ok(())
    }
}

impl State {
    fn status(&self, name: String) -> Status {
        let known = self.names.get(&name);
        let renewal = self.served.get(&name).map(|certificate| {
            let own = schedule::renewal(certificate.not_before, certificate.not_after, share(&name));
            let wanted = self.wanted.get(&name).and_then(|(wanted, _)| *wanted);
            wanted.map_or(own, |wanted| wanted.min(own))
        });
        let next = renewal.unwrap_or_default().max(known.map_or(0, |known| known.next_try));
        let failures = known.map_or(0, |known| known.failures);
        Status { next, failures, error: known.and_then(|known| known.error.clone()), name }
    }
}

/// Seconds since 1970.
fn now_s() -> i64 {
    (clock::now_ms() / 1_000) as i64
}

/// A number from 0 to 1 for each name, always the same: so that not all names have their turn at once.
fn share(name: &str) -> f64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

fn read(pem: &Pem) -> Result<Certificate, tls::certificate::CertificateError> {
    Certificate::from_pem(pem.chain.as_bytes(), pem.key.as_bytes())
}
