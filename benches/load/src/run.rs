//! Runs a plan: starts threads with clients, keeps the rate of the open loop, and reads the tallies once a second.

use std::convert::Infallible;
use std::fs;
use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::course::Course;
use crate::plan::Plan;
use crate::report::{Report, SNAPSHOT_PERIOD, Snapshot};
use crate::tally::{Tally, lock};

/// Runs `plan` on threads of its own and waits for the end. `progress` is called for each second.
///
/// No request is sent after the plan's duration. Those that are in flight then have until their timeout, and are
/// counted.
///
/// # Errors
///
/// A plan outside of the limits, a host that is not found, a request that is not valid HTTP, threads that cannot be
/// started. A request that fails is not an error of the run: it is counted.
pub fn run(plan: &Plan, mut progress: impl FnMut(&Snapshot)) -> Result<Report> {
    let course = Arc::new(Course::begin(plan)?);
    // Nothing is sent over this channel: it closes when the last of the threads with clients has ended.
    let (running, ended) = mpsc::channel::<Infallible>();
    let mut threads = Vec::new();
    let mut tallies = Vec::new();
    for number in 0..plan.threads {
        let clients = (number..plan.mode.clients()).step_by(plan.threads as usize).count();
        let tally = Arc::new(Mutex::new(Tally::new()?));
        tallies.push(tally.clone());
        let (course, running) = (course.clone(), running.clone());
        threads.push(start_thread(move || {
            let _running = running;
            drive_clients(&course, clients, &tally)
        })?);
    }
    drop(running);
    let pacing = course.clone();
    let pacer = start_thread(move || {
        pacing.pace();
        Ok(())
    })?;

    let mut total = Tally::new()?;
    let mut timeline: Vec<Snapshot> = Vec::new();
    let mut is_running = true;
    while is_running {
        let from = timeline.last().map_or(Duration::ZERO, |last| last.until);
        let due = SNAPSHOT_PERIOD * (timeline.len() as u32 + 1);
        let waited = ended.recv_timeout(due.saturating_sub(course.elapsed()));
        is_running = waited == Err(RecvTimeoutError::Timeout);
        let mut piece = Tally::new()?;
        for tally in &tallies {
            let empty = Tally::new()?;
            let counted = mem::replace(&mut *lock(tally), empty);
            piece.add(counted)?;
        }
        let snapshot = piece.snapshot(from, course.elapsed());
        total.add(piece)?;
        progress(&snapshot);
        timeline.push(snapshot);
    }

    course.stop_pacing();
    pacer.thread().unpark();
    threads.push(pacer);
    let mut cpu = Some(Duration::ZERO);
    for thread in threads {
        let used = thread.join().map_err(|_| anyhow!("a thread of the load generator panicked"))??;
        cpu = cpu.zip(used).map(|(sum, used)| sum + used);
    }
    Ok(total.report(plan, timeline, cpu))
}

/// Runs `clients` clients on this thread until they have ended.
fn drive_clients(course: &Arc<Course>, clients: usize, tally: &Arc<Mutex<Tally>>) -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("failed to start an event loop")?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(course.clone().drive(tally.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    })
}

/// Starts a thread that returns the CPU time that it has used, if the system gives it.
fn start_thread(
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<Result<Option<Duration>>>> {
    let started = thread::Builder::new().name("wfn-load".to_owned()).spawn(|| work().map(|()| thread_cpu()));
    started.context("failed to start a thread")
}

/// CPU time of this thread so far, from the nanoseconds that Linux gives.
fn thread_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
