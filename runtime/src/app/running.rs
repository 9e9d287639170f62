//! Holds an app as it runs: its meter, and the revisions that serve now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwap;

use crate::app::revision::{Revision, Serving};
use crate::app::share::TrafficShare;
use crate::manifest::function::FunctionName;
use crate::meter::Meter;
use crate::names::{AppName, RevisionId};
use crate::pool::Pool;
use crate::request::Group;

/// An app that is deployed here.
pub struct App {
    name: AppName,
    meter: Arc<Meter>,
    next_revision: AtomicU32,
    active: ArcSwap<Active>,
    removed: AtomicBool,
}

/// The revision that serves, and its pools.
pub struct Active {
    /// What was deployed.
    pub revision: Revision,
    /// The instances that answer HTTP.
    pub pool: Arc<Pool>,
    /// The instances of each function that a trigger calls.
    pub functions: Vec<(FunctionName, Arc<Pool>)>,
    /// A second revision that answers HTTP beside it, in a split.
    pub split: Option<Split>,
}

/// A second revision that answers a share of the HTTP requests.
pub struct Split {
    /// The deployed revision.
    pub revision: Revision,
    /// Its instances that answer HTTP. It has no others.
    pub pool: Arc<Pool>,
    /// Which requests it takes.
    pub share: TrafficShare,
}

impl Active {
    /// The pool of `group`, if the revision has it.
    pub fn pool_of(&self, group: Group<'_>) -> Option<&Arc<Pool>> {
        match group {
            Group::Http => Some(&self.pool),
            Group::Function(name) => {
                self.functions.iter().find(|(known, _)| known == name).map(|(_, pool)| pool)
            }
        }
    }

    /// Returns the pool that the next invocation of `group` goes to. HTTP requests of a split are divided only here.
    pub fn next_pool_of(&self, group: Group<'_>) -> Option<&Arc<Pool>> {
        match &self.split {
            Some(split) if group == Group::Http && split.share.takes_next() => Some(&split.pool),
            _ => self.pool_of(group),
        }
    }

    /// The pool of `group` in revision `id`, if that serves.
    pub fn pool_in(&self, id: RevisionId, group: Group<'_>) -> Option<&Arc<Pool>> {
        if id == self.revision.id {
            return self.pool_of(group);
        }
        let split = self.split.as_ref().filter(|split| split.revision.id == id && group == Group::Http);
        split.map(|split| &split.pool)
    }

    /// The pools of the active revision.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        std::iter::once(&self.pool).chain(self.functions.iter().map(|(_, pool)| pool))
    }

    /// The pools of the active and of the second revision that `other` does not have.
    pub fn pools_beside(&self, other: Option<&Self>) -> impl Iterator<Item = &Arc<Pool>> {
        let is_kept = move |pool: &Arc<Pool>| {
            other.is_some_and(|other| other.all_pools().any(|kept| Arc::ptr_eq(kept, pool)))
        };
        self.all_pools().filter(move |pool| !is_kept(pool))
    }

    fn all_pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools().chain(self.split.iter().map(|split| &split.pool))
    }

    /// Drains every pool that `other` does not have.
    pub fn drain_beside(&self, other: Option<&Self>) {
        self.pools_beside(other).for_each(|pool| pool.drain());
    }

    /// Returns which revisions serve.
    pub fn serving(&self) -> Serving {
        let split = self.split.as_ref();
        let split = split.map(|split| (split.revision.clone(), split.share.percent()));
        Serving { active: self.revision.clone(), split }
    }
}

impl App {
    /// Makes an app that serves `active`. The next revision gets the number `next_revision`.
    pub fn new(meter: Arc<Meter>, next_revision: u32, active: Active) -> Arc<Self> {
        let name = active.revision.manifest.name.clone();
        let (next_revision, active) = (AtomicU32::new(next_revision), ArcSwap::from_pointee(active));
        Arc::new(Self { name, meter, next_revision, active, removed: AtomicBool::new(false) })
    }

    /// Lets `active` serve from now on. Returns what served until now.
    pub fn switch(&self, active: Arc<Active>) -> Arc<Active> {
        let second = active.split.as_ref().map_or(0, |split| split.revision.id.0);
        let after = active.revision.id.0.max(second) + 1;
        self.next_revision.fetch_max(after, Ordering::AcqRel);
        self.active.swap(active)
    }

    /// Marks it as removed, for code that still holds it.
    pub fn mark_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Returns the number of the next revision.
    pub fn next_revision(&self) -> RevisionId {
        RevisionId(self.next_revision.load(Ordering::Acquire))
    }

    /// Its name.
    pub fn name(&self) -> &AppName {
        &self.name
    }

    /// Its counts and logs since the host started.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// What serves now.
    pub fn active(&self) -> Arc<Active> {
        self.active.load_full()
    }

    /// The pool that answers HTTP now.
    pub fn active_pool(&self) -> Arc<Pool> {
        self.active.load().pool.clone()
    }

    /// Returns the pool that the next invocation of `group` goes to, if there is one.
    pub fn next_pool_of(&self, group: Group<'_>) -> Option<Arc<Pool>> {
        self.active.load().next_pool_of(group).cloned()
    }

    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}
