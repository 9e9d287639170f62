//! Calls functions at the times of their schedules: one task for each timer function, from its first deploy to the removal of its
//! app. When to call is decided by [`crate::manifest::schedule`]. A decision is stored before it is carried out.

mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::app::running::App;
use crate::invocation::{InvocationId, random_share};
use crate::manifest::function::FunctionName;
use crate::manifest::schedule::{Action, Timer, TimerState};
use crate::manifest::triggers::timer::TimerTrigger;
use crate::names::AppName;
use crate::persist::db::Db;
use crate::persist::error::DbError;
use crate::trigger::call::{TriggerAnswer, call, kept_reason, pause_after_refusal};
use crate::trigger::cloudevent::{Event, timestamp};
use crate::trigger::tasks::AppTasks;
use crate::{clock, limits};
pub use table::Stored;

/// Names a timer function.
type Key = (AppName, FunctionName);

/// The timers of all apps.
pub struct Timers {
    db: Arc<Db>,
    stop: watch::Receiver<bool>,
    tasks: AppTasks<Key>,
    doors: Mutex<HashMap<Key, Door>>,
}

/// The channels to a timer's task.
#[derive(Clone)]
struct Door {
    changed: Arc<Notify>,
    fires: mpsc::Sender<oneshot::Sender<Fired>>,
}

/// How a run that an operator started has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Fired {
    /// Its id, as the log has it.
    pub invocation: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Why it failed; `None` if it did not.
    pub error: Option<String>,
}

impl Timers {
    /// Makes it without timers. They run on `here` and end with `stop`.
    pub fn new(db: Arc<Db>, here: Option<Handle>, stop: watch::Receiver<bool>) -> Self {
        Self { db, stop, tasks: AppTasks::new(here), doors: Mutex::default() }
    }

    /// Makes the timers of `app` follow the revision that serves now, and starts missing ones.
    pub fn follow(&self, app: &Arc<App>) {
        for trigger in &app.active().revision.manifest.trigger.timer {
            let key = (app.name().clone(), trigger.name.clone());
            if app.is_removed() {
                continue;
            }
            self.tasks.begin(key.clone(), app, || self.task(app, key).run());
        }
        for ((name, _), door) in self.doors.lock().iter() {
            if name == app.name() {
                door.changed.notify_one();
            }
        }
    }

    /// Runs a timer function now. `None` if there is no such function, or if a run of it is under way: runs never overlap.
    pub async fn fire(&self, app: &AppName, function: &FunctionName) -> Option<Fired> {
        let door = self.doors.lock().get(&(app.clone(), function.clone())).cloned()?;
        let (answer, fired) = oneshot::channel();
        door.fires.send(answer).await.ok()?;
        fired.await.ok()
    }

    /// What is stored of the timers of `app`.
    pub async fn stored(&self, app: &AppName) -> Result<Vec<(String, Stored)>, DbError> {
        let app = app.clone();
        self.db.read(move |connection: &Connection| table::all(connection, &app)).await
    }

    /// Waits until the timers that were told to stop have ended, with their runs.
    pub async fn ended(&self) {
        self.tasks.ended().await;
    }

    fn task(&self, app: &Arc<App>, key: Key) -> TimerTask {
        let (sender, fires) = mpsc::channel(1);
        let changed = Arc::<Notify>::default();
        let function = key.1.clone();
        let mut doors = self.doors.lock();
        doors.retain(|_, door| !door.fires.is_closed());
        doors.insert(key, Door { changed: changed.clone(), fires: sender });
        let (db, stop) = (self.db.clone(), self.stop.clone());
        TimerTask { app: app.clone(), function, db, stop, changed, fires, stored: None }
    }
}

/// One timer function.
struct TimerTask {
    app: Arc<App>,
    function: FunctionName,
    db: Arc<Db>,
    stop: watch::Receiver<bool>,
    changed: Arc<Notify>,
    fires: mpsc::Receiver<oneshot::Sender<Fired>>,
    /// `None` until it was read, and while the app has no such timer.
    stored: Option<Stored>,
}

/// What to do now.
enum Step {
    /// Wait for that moment, in milliseconds since 1970.
    Wait(i64),
    /// Begin a run.
    Run(Run),
}

/// One run of a timer function.
struct Run {
    trigger: TimerTrigger,
    /// The time it is for, in milliseconds since 1970.
    due_ms: i64,
    is_past_due: bool,
    is_by_hand: bool,
    /// The run before and the one after.
    last_ms: Option<i64>,
    next_ms: Option<i64>,
}

impl TimerTask {
    async fn run(mut self) {
        let mut stop = self.stop.clone();
        let mut runs = JoinSet::new();
        while !self.app.is_removed() && !*stop.borrow() {
            let until_ms = match self.step(!runs.is_empty()).await {
                Ok(Step::Wait(until_ms)) => until_ms,
                Ok(Step::Run(run)) => {
                    runs.spawn(run_once(self.app.clone(), run, stop.clone(), None));
                    continue;
                }
                Err(error) => {
                    tracing::error!("timer {} of app {}: {error}", self.function, self.app.name());
                    tokio::time::sleep(limits::QUEUE_DB_PAUSE).await;
                    continue;
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = runs.join_next() => self.end(ended.unwrap_or_default()).await,
                Some(answer) = self.fires.recv() => {
                    // During a run the request is dropped, which tells its sender so.
                    if let Some(run) = self.by_hand().filter(|_| runs.is_empty()) {
                        runs.spawn(run_once(self.app.clone(), run, stop.clone(), Some(answer)));
                    }
                }
                () = clock::until(until_ms) => {}
                _ = stop.changed() => {}
            }
        }
        // They end by themselves, or with the host.
        while let Some(ended) = runs.join_next().await {
            self.end(ended.unwrap_or_default()).await;
        }
    }

    /// What its trigger says now, if the revision that serves has it.
    fn trigger(&self) -> Option<(TimerTrigger, Timer)> {
        let active = self.app.active();
        let trigger = active.revision.manifest.trigger.timer(&self.function)?.clone();
        // The manifest was checked.
        let timer = trigger.timer(self.app.name()).ok()?;
        Some((trigger, timer))
    }

    /// Decides, and stores what was decided.
    async fn step(&mut self, is_running: bool) -> Result<Step, DbError> {
        let now_ms = clock::now_ms() as i64;
        let Some((trigger, timer)) = self.trigger() else {
            if self.stored.take().is_some() {
                self.write(table::forget).await?;
            }
            return Ok(Step::Wait(i64::MAX));
        };
        let stored = self.load(&trigger, &timer, now_ms).await?;
        let decision = stored.state.decide(now_ms, is_running, &timer);
        if decision.skipped > 0 {
            let skipped = decision.skipped;
            self.say(None, &format!("{skipped} runs of timer {} were missed", self.function));
        }
        if decision.state != stored.state {
            self.store(Stored { state: decision.state, ..stored.clone() }).await?;
        }
        Ok(match decision.action {
            Action::Wait { until_ms } => Step::Wait(until_ms),
            Action::Busy => Step::Wait(i64::MAX),
            Action::Run { occurrence_ms, past_due } => Step::Run(Run {
                trigger,
                due_ms: occurrence_ms,
                is_past_due: past_due,
                is_by_hand: false,
                last_ms: stored.state.last_run_ms,
                next_ms: decision.state.next_due_ms,
            }),
        })
    }

    /// Returns what is stored, adapted to the present settings of the trigger.
    async fn load(&mut self, trigger: &TimerTrigger, timer: &Timer, now_ms: i64) -> Result<Stored, DbError> {
        let schedule = timer.schedule();
        let (cron, zone) = (schedule.cron().to_owned(), schedule.time_zone().to_owned());
        let is_first = self.stored.is_none();
        let known = match self.stored.clone() {
            Some(stored) => Some(stored),
            None => {
                let (app, function) = (self.app.name().clone(), self.function.clone());
                self.db.read(move |connection: &Connection| table::get(connection, &app, &function)).await?
            }
        };
        let begin = |last_error| Stored {
            schedule: cron.clone(),
            time_zone: zone.clone(),
            state: TimerState::begin(now_ms, schedule),
            last_error,
        };
        let fitting = match known.clone() {
            None => begin(None),
            Some(stored) if is_first && stored.state.is_ahead_of(now_ms) => {
                self.say(None, &format!("timer {}: the clock was set back; it begins anew", self.function));
                begin(stored.last_error)
            }
            Some(stored) => {
                let state = if is_first { stored.state.restarted(trigger.missed_runs) } else { stored.state };
                let is_same = stored.schedule == cron && stored.time_zone == zone;
                let state = if is_same { state } else { state.rescheduled(now_ms, schedule) };
                Stored { schedule: cron, time_zone: zone, state, ..stored }
            }
        };
        if known.as_ref() != Some(&fitting) {
            self.store(fitting.clone()).await?;
        }
        self.stored = Some(fitting.clone());
        Ok(fitting)
    }

    async fn store(&mut self, stored: Stored) -> Result<(), DbError> {
        let row = stored.clone();
        self.write(move |transaction, app, function| table::put(transaction, app, function, &row)).await?;
        self.stored = Some(stored);
        Ok(())
    }

    async fn write(
        &self,
        change: impl FnOnce(&Transaction<'_>, &AppName, &FunctionName) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), DbError> {
        let (app, function) = (self.app.name().clone(), self.function.clone());
        self.db.write(move |transaction| change(transaction, &app, &function)).await
    }

    /// Handles the end of a run (its thread has reported a panic): stores how it ended, and then tells the operator who asked for
    /// it.
    async fn end(&mut self, ended: Option<RunEnd>) {
        let failed = || RunEnd { is_over: true, error: Some("the host failed".to_owned()), by_hand: None };
        let RunEnd { is_over, error, by_hand } = ended.unwrap_or_else(failed);
        // A run that was cut off with its app or host counts as missed at the next start.
        if let Some(stored) = self.stored.clone().filter(|_| is_over) {
            let state = if by_hand.is_some() { stored.state } else { stored.state.ended() };
            if let Err(error) = self.store(Stored { state, last_error: error, ..stored }).await {
                tracing::error!("timer {} of app {}: {error}", self.function, self.app.name());
            }
        }
        if let Some((asked, fired)) = by_hand {
            // Who asked may be gone.
            let _ = asked.send(fired);
        }
    }

    fn by_hand(&self) -> Option<Run> {
        let (trigger, _) = self.trigger()?;
        let state = self.stored.as_ref().map(|stored| stored.state).unwrap_or_default();
        Some(Run {
            trigger,
            due_ms: clock::now_ms() as i64,
            is_past_due: false,
            is_by_hand: true,
            last_ms: state.last_run_ms,
            next_ms: state.next_due_ms,
        })
    }

    fn say(&self, invocation: Option<InvocationId>, text: &str) {
        self.app.active_pool().template().host_log(invocation, text);
    }
}

/// A run that has ended.
struct RunEnd {
    /// Whether the function has answered, or failed; otherwise the run was cut off.
    is_over: bool,
    error: Option<String>,
    /// Who asked for it by hand, and what to tell them.
    by_hand: Option<(oneshot::Sender<Fired>, Fired)>,
}

impl Run {
    fn event(&self, app: &AppName) -> Event {
        let function = &self.trigger.name;
        let id = if self.is_by_hand { format!("{}-by-hand", self.due_ms) } else { self.due_ms.to_string() };
        let source = format!("/apps/{app}/timers/{function}");
        Event::new("wfn.timer.due", source, id, self.due_ms)
            .with("pastdue", self.is_past_due.to_string())
            .with_json(&json!({
                "schedule": self.trigger.schedule,
                "time_zone": self.trigger.time_zone(),
                "due": timestamp(self.due_ms),
                "past_due": self.is_past_due,
                "by_hand": self.is_by_hand,
                "last": self.last_ms.map(timestamp),
                "next": self.next_ms.map(timestamp),
            }))
    }
}

/// Calls the function until it has seen the event.
async fn run_once(
    app: Arc<App>,
    run: Run,
    stop: watch::Receiver<bool>,
    asked: Option<oneshot::Sender<Fired>>,
) -> Option<RunEnd> {
    let (function, path, begun) = (&run.trigger.name, run.trigger.path(), Instant::now());
    let mut refusals = 0;
    let (invocation, answer) = loop {
        let invocation = InvocationId::next();
        let answer = call(&app, function, run.event(app.name()).request(&path), invocation, 0).await;
        match answer {
            TriggerAnswer::Throttled if !app.is_removed() && !*stop.borrow() => {
                tokio::time::sleep(pause_after_refusal(refusals, random_share())).await;
                refusals += 1;
            }
            answer => break (invocation, answer),
        }
    };
    let is_over = matches!(answer, TriggerAnswer::Done(_) | TriggerAnswer::Failed(_));
    let error = match answer {
        TriggerAnswer::Done(_) => None,
        TriggerAnswer::Failed(error) => Some(error),
        TriggerAnswer::Throttled => Some("no instance was free".to_owned()),
        TriggerAnswer::NobodyThere => Some("the function is gone".to_owned()),
    };
    let error = error.map(|error| kept_reason(&app, &error));
    if let Some(error) = &error {
        let text = format!("run of timer {function} failed: {error}");
        app.active_pool().template().host_log(Some(invocation), &text);
    }
    let by_hand = asked.map(|asked| {
        let ms = begun.elapsed().as_millis() as u64;
        (asked, Fired { invocation: invocation.to_string(), ms, error: error.clone() })
    });
    Some(RunEnd { is_over, error, by_hand })
}
