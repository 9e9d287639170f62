//! A seeded simulation of a host that meters, publishes, stores, fails to store and is killed, beside a model that
//! knows each millisecond. `WFN_SIMULATION_SEED` and `WFN_SIMULATION_RUNS` choose other runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rusqlite::Connection;

use crate::meter::usage::book::Book;
use crate::meter::usage::hours::Hour;
use crate::meter::usage::instance::InstanceMeter;
use crate::meter::usage::{Amounts, UsageRow, store};
use crate::names::AppName;
use crate::persist::schema;

const PUBLISH_INTERVAL_MS: u64 = 5_000;
const ACTIONS: u64 = 4_000;
/// 500 seconds before an hour ends.
const BEGINS_UNIX_MS: u64 = 1_795_334_400_000 - 500_000;

/// Milliseconds from one action to the next: often none, and often such that periods meet the watermark.
fn gap_ms(random: &mut Rng) -> u64 {
    let usual = [0, 0, 1, 50, 100, 300, 500];
    if random.u8(0..20) == 0 { random.u64(0..3_000) } else { usual[random.usize(0..7)] }
}

/// The model of one instance: what happened, in milliseconds since the simulation began.
struct Timeline {
    class_mb: u64,
    is_always_ready: bool,
    opened: u64,
    /// When invocations began and ended, in order.
    events: Vec<(u64, Event)>,
    /// What was expected at the last publication.
    published: Amounts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Begin,
    End,
}

impl Timeline {
    fn in_flight(&self) -> usize {
        let begun = self.events.iter().filter(|(_, event)| *event == Event::Begin).count();
        begun - (self.events.len() - begun)
    }

    /// The active periods; one that lasts ends `now`.
    fn periods(&self, now: u64) -> Vec<(u64, u64)> {
        let (mut periods, mut in_flight) = (Vec::new(), 0);
        for (at, event) in &self.events {
            match event {
                Event::Begin if in_flight == 0 => periods.push((*at, now)),
                Event::End if in_flight == 1 => periods.last_mut().unwrap().1 = *at,
                _ => {}
            }
            in_flight += if *event == Event::Begin { 1 } else { -1 };
        }
        periods
    }

    /// One entry for each millisecond since the instance was opened: whether it is billed.
    fn billed(&self, now: u64) -> Vec<bool> {
        let mut billed = Vec::new();
        for (begin, end) in self.periods(now) {
            let (begin, end) = ((begin - self.opened) as usize, (end - self.opened) as usize);
            // A period without length is paid for as its first millisecond is.
            let is_paid = (begin..end.max(begin + 1)).all(|ms| billed.get(ms) == Some(&true));
            if is_paid {
                continue;
            }
            let mut until = begin + 1_000;
            while until < end {
                until += 100;
            }
            billed.resize(billed.len().max(until), false);
            billed[begin..until].fill(true);
        }
        billed
    }

    /// Everything used until now.
    fn used(&self, now: u64) -> Amounts {
        let billed = self.billed(now);
        for (begin, end) in self.periods(now) {
            assert!((begin..end).all(|ms| billed[(ms - self.opened) as usize]), "a gap");
        }
        let active_mb_ms = billed.iter().filter(|is_billed| **is_billed).count() as u64 * self.class_mb;
        let executions = self.events.iter().filter(|(_, event)| *event == Event::End).count() as u64;
        if self.is_always_ready {
            Amounts {
                executions,
                always_ready_baseline_mb_ms: (now - self.opened) * self.class_mb,
                always_ready_execution_mb_ms: active_mb_ms,
                on_demand_mb_ms: 0,
            }
        } else {
            Amounts { executions, on_demand_mb_ms: active_mb_ms, ..Amounts::default() }
        }
    }
}

/// An instance of a group, as the host and as the model know it.
struct Instance {
    app: AppName,
    group: &'static str,
    meter: InstanceMeter,
    timeline: Timeline,
}

/// Usage as the model knows it.
type Expected = BTreeMap<(AppName, &'static str, Hour), Amounts>;

struct World {
    random: Rng,
    start: Instant,
    now: u64,
    instances: Vec<Instance>,
    book: Book,
    database: Connection,
    /// What was published, and of that what was stored.
    expected: Expected,
    stored: Expected,
    stored_at: u64,
    /// Since then.
    failures_in_a_row: u64,
    kills: u64,
    lost_at_kills: u64,
    failures: u64,
}

fn difference(all: Amounts, before: Amounts) -> Amounts {
    Amounts {
        executions: all.executions - before.executions,
        on_demand_mb_ms: all.on_demand_mb_ms - before.on_demand_mb_ms,
        always_ready_baseline_mb_ms: all.always_ready_baseline_mb_ms - before.always_ready_baseline_mb_ms,
        always_ready_execution_mb_ms: all.always_ready_execution_mb_ms - before.always_ready_execution_mb_ms,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(schema::USAGE).unwrap();
        Self {
            random: Rng::with_seed(seed),
            start: Instant::now(),
            now: 0,
            instances: Vec::new(),
            book: Book::default(),
            database,
            expected: Expected::new(),
            stored: Expected::new(),
            stored_at: 0,
            failures_in_a_row: 0,
            kills: 0,
            lost_at_kills: 0,
            failures: 0,
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn hour(&self) -> Hour {
        Hour::of(BEGINS_UNIX_MS + self.now)
    }

    fn open(&mut self) {
        let app = AppName::new(["a", "b"][self.random.usize(0..2)]).unwrap();
        let group = ["http", "function:f"][self.random.usize(0..2)];
        let class_mb = [2_048, 4_096][self.random.usize(0..2)];
        let is_always_ready = self.random.u8(0..3) == 0;
        let meter = InstanceMeter::new(class_mb, is_always_ready, self.instant());
        let published = Amounts::default();
        let timeline =
            Timeline { class_mb, is_always_ready, opened: self.now, events: Vec::new(), published };
        self.instances.push(Instance { app, group, meter, timeline });
    }

    fn call(&mut self, event: Event) {
        let (number, now) = (self.random.usize(0..self.instances.len()), self.instant());
        let Instance { meter, timeline, .. } = &mut self.instances[number];
        match (event, timeline.in_flight()) {
            (Event::Begin, 4..) | (Event::End, 0) => return,
            (Event::Begin, _) => meter.begin(|| now),
            (Event::End, _) => meter.end(now),
        }
        timeline.events.push((self.now, event));
    }

    fn close(&mut self) {
        let number = self.random.usize(0..self.instances.len());
        let Instance { app, group, meter, mut timeline } = self.instances.swap_remove(number);
        let amounts = meter.close(self.instant());
        self.note(&app, group, &mut timeline, amounts);
    }

    fn publish(&mut self) {
        let mut instances = std::mem::take(&mut self.instances);
        for Instance { app, group, meter, timeline } in &mut instances {
            let amounts = meter.publish(self.instant());
            self.note(app, group, timeline, amounts);
        }
        self.instances = instances;
    }

    /// Checks what was taken out of a meter, and notes it in the book and in the model.
    fn note(&mut self, app: &AppName, group: &'static str, timeline: &mut Timeline, amounts: Amounts) {
        let used = timeline.used(self.now);
        let expected = difference(used, timeline.published);
        assert_eq!(amounts, expected, "at {} of an instance opened at {}", self.now, timeline.opened);
        timeline.published = used;
        self.book.note(app, group, self.hour(), amounts);
        if expected != Amounts::default() {
            *self.expected.entry((app.clone(), group, self.hour())).or_default() += expected;
        }
    }

    /// Stores what the book holds, unless the disk fails half-way.
    fn store(&mut self, fails: bool) {
        let rows = self.book.take();
        let transaction = self.database.transaction().unwrap();
        store::add(&transaction, &rows).unwrap();
        if fails {
            transaction.rollback().unwrap();
            self.book.put_back(rows);
            self.failures += 1;
            self.failures_in_a_row += 1;
        } else {
            transaction.commit().unwrap();
            self.stored = self.expected.clone();
            (self.stored_at, self.failures_in_a_row) = (self.now, 0);
        }
        self.check();
    }

    /// The host ends without a word: what is in its memory is gone, what it has stored is not.
    fn kill(&mut self) {
        assert!(self.now - self.stored_at <= (1 + self.failures_in_a_row) * PUBLISH_INTERVAL_MS);
        self.lost_at_kills += u64::from(self.expected != self.stored);
        self.instances.clear();
        self.book = Book::default();
        self.expected = self.stored.clone();
        self.kills += 1;
        self.check();
    }

    /// What is stored is what was used until it was last stored: no less and no more.
    fn check(&self) {
        let row = |((app, group, hour), amounts): (&(AppName, &'static str, Hour), &Amounts)| UsageRow {
            app: app.clone(),
            group: (*group).to_owned(),
            hour: *hour,
            amounts: *amounts,
        };
        let expected: Vec<UsageRow> = self.stored.iter().map(row).collect();
        let apps: BTreeSet<&AppName> = expected.iter().map(|row| &row.app).collect();
        let of_app = |app: &AppName| store::hours_of(&self.database, app, Hour(0)).unwrap();
        let stored: Vec<UsageRow> = apps.into_iter().flat_map(of_app).collect();
        assert_eq!(stored, expected);
        let executions = |rows: &[UsageRow]| -> u64 { rows.iter().map(|row| row.amounts.executions).sum() };
        let sums = store::sums(&self.database, None, Hour(0)).unwrap();
        assert_eq!(executions(&sums), executions(&expected));
    }

    /// Lets time pass until the next action, and publishes when it is time.
    fn wait(&mut self) {
        let until = self.now + gap_ms(&mut self.random);
        for count in self.now / PUBLISH_INTERVAL_MS + 1..=until / PUBLISH_INTERVAL_MS {
            self.now = count * PUBLISH_INTERVAL_MS;
            self.publish();
            let fails = self.random.u8(0..4) == 0;
            self.store(fails);
        }
        self.now = until;
    }

    fn act(&mut self) {
        match self.random.u8(0..100) {
            _ if self.instances.is_empty() => self.open(),
            0..2 if self.instances.len() < 6 => self.open(),
            2..4 => self.close(),
            4 if self.random.u8(0..3) == 0 => self.kill(),
            5..50 => self.call(Event::Begin),
            _ => self.call(Event::End),
        }
    }
}

fn simulate(seed: u64) {
    println!("seed {seed}");
    let mut world = World::new(seed);
    for _ in 0..ACTIONS {
        world.wait();
        world.act();
    }
    while !world.instances.is_empty() {
        world.close();
    }
    world.store(false);
    assert_eq!(world.stored, world.expected);
    assert!(world.book.take().is_empty());
    let hours: BTreeSet<Hour> = world.stored.keys().map(|(_, _, hour)| *hour).collect();
    let World { now, kills, lost_at_kills, failures, .. } = world;
    println!("{now} ms, {} hours, {kills} kills, {failures} failures", hours.len());
    assert!(hours.len() > 1 && kills > 3 && lost_at_kills > 0 && failures > 10, "too little happened");
}

#[test]
fn a_kill_loses_at_most_what_was_used_since_usage_was_last_stored() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("WFN_SIMULATION_SEED").unwrap_or(1);
    for seed in first..first + number("WFN_SIMULATION_RUNS").unwrap_or(10) {
        simulate(seed);
    }
}
