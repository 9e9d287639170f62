//! Tests the tables against a model: every message is in one state, is read once in the order of its position, and ends
//! in one way; the counts match what is stored.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::capability::queues::message::{Message, NewMessage};
use crate::capability::stores::AccessError;
use crate::manifest::grants::StoreName;
use crate::persist::schema;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    for app in ["a", "b"] {
        connection.execute("INSERT INTO app VALUES (?1, 1, 2, 0)", [app]).unwrap();
    }
    connection
}

fn place(app: &str, store: &str) -> Place {
    Place { app: AppName::new(app).unwrap(), store: StoreName::new(store).unwrap() }
}

fn new(body: &str, id: Option<u8>, delay_ms: i64) -> NewMessage {
    NewMessage {
        id: id.map(|id| format!("id {id}")),
        session: None,
        content_type: String::new(),
        body: body.into(),
        delay_ms,
        time_to_live_ms: None,
    }
}

#[derive(Debug, Clone)]
enum Action {
    /// Sends, perhaps with a name and a delay.
    Send(usize, Option<u8>, i64),
    /// Reads what is ready and was not read.
    Read(usize, usize),
    /// Ends the delivery of the n-th message under way: acknowledged, to wait so long, or dead.
    Acknowledge(usize),
    Fail(usize, Option<i64>),
    /// Time goes on, and what is due becomes ready.
    Pass(i64),
    Replay(usize),
    Purge(usize),
    /// The host is killed: what was under way is read again.
    Kill,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..2_usize, proptest::option::of(0..6_u8), prop_oneof![3 => Just(0), 1 => 1..50_i64])
            .prop_map(|(queue, id, delay)| Action::Send(queue, id, delay)),
        4 => (0..2_usize, 1..5_usize).prop_map(|(queue, limit)| Action::Read(queue, limit)),
        4 => (0..8_usize).prop_map(Action::Acknowledge),
        3 => (0..8_usize, proptest::option::of(0..30_i64)).prop_map(|(which, wait)| Action::Fail(which, wait)),
        3 => (1..400_000_i64).prop_map(Action::Pass),
        1 => (0..2_usize).prop_map(Action::Replay),
        1 => (0..2_usize).prop_map(Action::Purge),
        1 => Just(Action::Kill),
    ]
}

/// One message as the model has it.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Ready,
    UnderWay,
    Waiting(i64),
    Dead,
}

#[derive(Default)]
struct Model {
    /// By queue and body. No two bodies are equal.
    messages: BTreeMap<(usize, String), Stage>,
    seen: HashMap<(usize, u8), i64>,
}

impl Model {
    fn of(&self, queue: usize, stage: &Stage) -> Vec<String> {
        let is_one = |((of, _), is): &(&(usize, String), &Stage)| *of == queue && *is == stage;
        self.messages.iter().filter(is_one).map(|((_, body), _)| body.clone()).collect()
    }
}

proptest! {
    #[test]
    fn messages_go_through_their_states_as_in_a_model(actions in proptest::collection::vec(action(), 1..120)) {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        let places = [place("a", "q"), place("a", "r")];
        let (mut model, mut now_ms, mut sent) = (Model::default(), 1_000_000, 0);
        let mut read_to = [0, 0];
        let mut under_way: Vec<(usize, Message)> = Vec::new();
        for action in actions {
            match action {
                Action::Send(at, id, delay_ms) => {
                    sent += 1;
                    let body = format!("m{sent:05}");
                    let done = send(&transaction, &places[at], &new(&body, id, delay_ms), now_ms).unwrap();
                    let is_duplicate = id.is_some_and(|id| model.seen.get(&(at, id)).is_some_and(|until| *until > now_ms));
                    prop_assert_eq!(done.is_duplicate, is_duplicate);
                    if !is_duplicate {
                        let stage = if delay_ms == 0 { Stage::Ready } else { Stage::Waiting(now_ms + delay_ms) };
                        model.messages.insert((at, body), stage);
                        model.seen.extend(id.map(|id| ((at, id), now_ms + 600_000)));
                    }
                }
                Action::Read(at, limit) => {
                    let Some(queue) = queue(&transaction, &places[at]).unwrap() else { continue };
                    for message in ready(&transaction, queue, read_to[at], limit).unwrap() {
                        prop_assert!(message.position > read_to[at]);
                        read_to[at] = message.position;
                        let body = String::from_utf8(message.body.to_vec()).unwrap();
                        let stage = model.messages.insert((at, body), Stage::UnderWay);
                        prop_assert_eq!(stage, Some(Stage::Ready), "what is read was ready, and is read once");
                        under_way.push((at, message));
                    }
                }
                Action::Acknowledge(which) if which < under_way.len() => {
                    let (at, message) = under_way.swap_remove(which);
                    let body = String::from_utf8(message.body.to_vec()).unwrap();
                    let was_there = model.messages.remove(&(at, body)).is_some();
                    prop_assert_eq!(acknowledge(&transaction, message.number).unwrap(), was_there);
                    prop_assert!(!acknowledge(&transaction, message.number).unwrap(), "a second time is refused");
                }
                Action::Fail(which, wait_ms) if which < under_way.len() => {
                    let (at, message) = under_way.swap_remove(which);
                    let key = (at, String::from_utf8(message.body.to_vec()).unwrap());
                    let next = wait_ms.map_or(Next::Dead, |wait_ms| Next::Waits(now_ms + wait_ms));
                    let failure = Failure { number: message.number, first_ms: now_ms, error: "no".into(), next };
                    prop_assert_eq!(fail(&transaction, &failure, now_ms).unwrap(), model.messages.contains_key(&key));
                    if let Some(stage) = model.messages.get_mut(&key) {
                        *stage = wait_ms.map_or(Stage::Dead, |wait_ms| Stage::Waiting(now_ms + wait_ms));
                    }
                }
                Action::Pass(by_ms) => {
                    now_ms += by_ms;
                    for place in &places {
                        if let Some(queue) = queue(&transaction, place).unwrap() {
                            while promote(&transaction, queue, now_ms, 2).unwrap() > 0 {}
                            prop_assert!(next_due(&transaction, queue).unwrap().is_none_or(|due_ms| due_ms > now_ms));
                        }
                    }
                    for stage in model.messages.values_mut() {
                        if matches!(stage, Stage::Waiting(due_ms) if *due_ms <= now_ms) {
                            *stage = Stage::Ready;
                        }
                    }
                }
                Action::Replay(at) => {
                    let dead = model.of(at, &Stage::Dead);
                    prop_assert_eq!(replay(&transaction, &places[at], None, 1_000).unwrap(), dead.len());
                    model.messages.extend(dead.into_iter().map(|body| ((at, body), Stage::Ready)));
                }
                Action::Purge(at) => {
                    for state in [State::Ready, State::Waiting, State::Dead] {
                        while purge(&transaction, &places[at], state, 3).unwrap() > 0 {}
                    }
                    model.messages.retain(|(of, _), _| *of != at);
                }
                Action::Kill => {
                    read_to = [0, 0];
                    under_way.clear();
                    for stage in model.messages.values_mut().filter(|stage| **stage == Stage::UnderWay) {
                        *stage = Stage::Ready;
                    }
                }
                Action::Acknowledge(_) | Action::Fail(..) => {}
            }
            let counted = queues(&transaction, &places[0].app).unwrap();
            for (name, usage) in counted {
                let at = places.iter().position(|place| place.store.as_str() == name).unwrap();
                let all = model.messages.iter().filter(|((of, _), _)| *of == at).count() as i64;
                let dead = model.of(at, &Stage::Dead).len() as i64;
                prop_assert_eq!((usage.messages, usage.dead), (all - dead, dead));
                let query = "SELECT coalesce(sum(bytes), 0) FROM queue_message
                             WHERE queue = (SELECT id FROM queue WHERE app = 'a' AND name = ?1)";
                let bytes: i64 = transaction.query_row(query, [&name], |row| row.get(0)).unwrap();
                prop_assert_eq!(usage.bytes, bytes);
            }
        }
    }
}

#[test]
fn pages_follow_one_another_and_dropped_queues_are_swept() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let place = place("a", "q");
    for number in 0..25 {
        let delay_ms = if number % 5 == 0 { 1_000 } else { 0 };
        send(&transaction, &place, &new(&number.to_string(), Some(number), delay_ms), 0).unwrap();
    }
    let mut listed = Vec::new();
    for (state, count) in [(State::Ready, 20), (State::Waiting, 5), (State::Dead, 0)] {
        let (mut after, mut found) = (After::default(), 0);
        loop {
            let page = page(&transaction, &place, state, after, 3).unwrap();
            let Some((_, last)) = page.last() else { break };
            after = *last;
            found += page.len();
            listed.extend(page.into_iter().map(|(message, _)| message.body));
        }
        assert_eq!(found, count, "{state:?}");
    }
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 25);
    drop_queues(&transaction, &place.app).unwrap();
    assert!(queue(&transaction, &place).unwrap().is_none());
    while sweep(&transaction).unwrap() {}
    for table in ["queue", "queue_message", "queue_seen"] {
        let left: i64 =
            transaction.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
    // A new queue of that name is empty and remembers no names of messages.
    assert!(!send(&transaction, &place, &new("x", Some(1), 0), 0).unwrap().is_duplicate);
}

#[test]
fn a_queue_of_an_app_that_is_gone_is_not_made() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let sent = send(&transaction, &place("nobody", "q"), &new("x", None, 0), 0);
    assert!(matches!(sent, Err(QueueError::Access(AccessError::NoOwner(..)))), "{sent:?}");
}

#[test]
fn one_that_waits_in_its_place_keeps_it_and_is_due_later() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let place = place("a", "q");
    for number in 0..3 {
        send(&transaction, &place, &new(&number.to_string(), None, 0), 0).unwrap();
    }
    let queue = queue(&transaction, &place).unwrap().unwrap();
    let before = ready(&transaction, queue, 0, 10).unwrap();
    let number = before[1].number;
    let failure = Failure { number, first_ms: 1, error: "no".into(), next: Next::WaitsInPlace(500) };
    assert!(fail(&transaction, &failure, 100).unwrap());
    let after = ready(&transaction, queue, 0, 10).unwrap();
    let places =
        |messages: &[Message]| messages.iter().map(|one| (one.number, one.position)).collect::<Vec<_>>();
    assert_eq!(places(&after), places(&before));
    assert_eq!((after[1].due_ms, after[1].failures, after[0].due_ms), (500, 1, 0));
    // It does not wait to be made ready, and is listed and removed once.
    assert_eq!(next_due(&transaction, queue).unwrap(), None);
    assert_eq!(promote(&transaction, queue, 1_000, 10).unwrap(), 0);
    let listed = |state| page(&transaction, &place, state, After::default(), 10).unwrap().len();
    assert_eq!((listed(State::Ready), listed(State::Waiting)), (3, 0));
    assert!(acknowledge(&transaction, number).unwrap());
    assert_eq!(purge(&transaction, &place, State::Waiting, 10).unwrap(), 0);
    assert_eq!(purge(&transaction, &place, State::Ready, 10).unwrap(), 2);
    assert_eq!(queues(&transaction, &place.app).unwrap()[0].1, Usage::default());
}

#[test]
fn what_has_expired_is_dead_whether_anybody_takes_it_or_not() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let place = place("a", "q");
    let held = || {
        let usage = queues(&transaction, &place.app).unwrap()[0].1;
        (usage.messages, usage.dead)
    };
    let lives = |body: &str, life_ms, delay_ms| {
        let message = NewMessage { time_to_live_ms: Some(life_ms), ..new(body, None, delay_ms) };
        send(&transaction, &place, &message, 0).unwrap()
    };
    assert_eq!(expiry::next(&transaction).unwrap(), None);
    for (body, life_ms, delay_ms) in [("first", 10, 0), ("second", 20, 0), ("third", 20, 0), ("waits", 5, 30)]
    {
        lives(body, life_ms, delay_ms);
    }
    send(&transaction, &place, &new("for ever", None, 0), 0).unwrap();
    assert_eq!(expiry::next(&transaction).unwrap(), Some(10));
    assert_eq!((expiry::expire(&transaction, 9, 10).unwrap(), held()), (0, (5, 0)));
    assert_eq!((expiry::expire(&transaction, 10, 10).unwrap(), held()), (1, (4, 1)));
    // The others are being delivered when their time ends: one delivery succeeds, which counts, and one fails.
    let queue = queue(&transaction, &place).unwrap().unwrap();
    let under_way = ready(&transaction, queue, 0, 2).unwrap();
    while expiry::expire(&transaction, 40, 2).unwrap() > 0 {}
    assert_eq!((held(), expiry::next(&transaction).unwrap()), ((1, 4), None));
    assert!(acknowledge(&transaction, under_way[0].number).unwrap());
    assert!(!acknowledge(&transaction, under_way[0].number).unwrap());
    let failure =
        Failure { number: under_way[1].number, first_ms: 1, error: "no".into(), next: Next::Waits(90) };
    assert!(!fail(&transaction, &failure, 50).unwrap(), "it stays dead");
    assert_eq!(held(), (1, 3));
    let dead = page(&transaction, &place, State::Dead, After::default(), 10).unwrap();
    assert!(dead.iter().all(|(message, _)| message.last_error == expiry::EXPIRED));
    // A dead letter that is replayed has no time to live.
    assert_eq!(replay(&transaction, &place, None, 10).unwrap(), 3);
    assert_eq!((expiry::next(&transaction).unwrap(), held()), (None, (4, 0)));
}
