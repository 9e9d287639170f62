//! Keeps which messages of a queue are being delivered, which sessions are busy with one, and which wait until one is delivered
//! again. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use crate::capability::queues::message::Message;

/// The leases of one consumer.
#[derive(Default)]
pub struct Leases {
    /// By number.
    leases: HashMap<i64, Lease>,
    bytes: usize,
    /// How many of them belong to sessions and failed before.
    again: usize,
    /// Sessions that have a message in delivery, or wait. Their other messages are not kept, so that a session with a million of
    /// them needs no more memory and delays nobody.
    sessions: HashMap<String, Session>,
    /// The sessions that wait, by the time at which they continue. Their messages are not leases, so that they occupy no place.
    waiting: BTreeSet<(i64, String)>,
}

struct Lease {
    position: i64,
    is_again: bool,
    /// Where it was read again meanwhile, further on: what failed is due again as soon as that is stored, and its delivery may
    /// end a moment later.
    stands_again: Option<i64>,
}

#[derive(Default)]
struct Session {
    /// Whether others of it were read after the one that is under way or waits.
    has_more: bool,
    /// The position of the message that waits in its place, if one does.
    waits_at: Option<i64>,
}

/// What has to be done when leases end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Sessions that go on, each with the position after which its next message stands. They are busy until
    /// [`Leases::go_on`] is told of that one.
    pub sessions: Vec<(String, i64)>,
    /// The first position at which one of the messages stands again and was passed over, to be read once more.
    pub passed_over: Option<i64>,
}

impl Leases {
    /// How many messages are leases.
    pub fn count(&self) -> usize {
        self.leases.len()
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of them are delivered again, in the sessions that waited for it.
    pub fn again(&self) -> usize {
        self.again
    }

    /// Returns how many sessions wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns when the first of them continues, in milliseconds since 1970.
    pub fn next_due(&self) -> Option<i64> {
        self.waiting.first().map(|(due_ms, _)| *due_ms)
    }

    /// Leases messages that were read, in order, except those that are leased already, and gives them back: with
    /// `in_sessions` one of each session, unless it waits still.
    pub fn lease(&mut self, messages: Vec<Message>, in_sessions: bool, now_ms: i64) -> Vec<Message> {
        let mut leases = Vec::with_capacity(messages.len());
        for message in messages {
            if let Some(lease) = self.leases.get_mut(&message.number) {
                lease.stands_again = Some(message.position).filter(|position| *position != lease.position);
                continue;
            }
            if let Some(session) = message.session.as_ref().filter(|_| in_sessions) {
                match self.sessions.entry(session.clone()) {
                    Entry::Occupied(mut busy) => {
                        busy.get_mut().has_more = true;
                        continue;
                    }
                    Entry::Vacant(free) => drop(free.insert(Session::default())),
                }
                if message.due_ms > now_ms {
                    // Since before the host was started.
                    self.let_wait(session, &message, message.due_ms);
                    continue;
                }
            }
            self.begin(&message);
            leases.push(message);
        }
        leases
    }

    /// Ends the leases of messages.
    pub fn release(&mut self, messages: &[Message]) -> Released {
        let mut released = Released::default();
        for message in messages {
            let Some(lease) = self.end(message) else { continue };
            released.passed_over = released.passed_over.into_iter().chain(lease.stands_again).min();
            let Some(session) = &message.session else { continue };
            match self.sessions.get(session) {
                Some(Session { has_more: true, .. }) => {
                    released.sessions.push((session.clone(), message.position));
                }
                Some(_) => drop(self.sessions.remove(session)),
                None => {}
            }
        }
        released
    }

    /// Ends the lease of a message whose session waits in its place until `due_ms`.
    pub fn wait(&mut self, message: &Message, due_ms: i64) {
        self.end(message);
        if let Some(session) = &message.session {
            self.let_wait(session, message, due_ms);
        }
    }

    fn let_wait(&mut self, session: &str, message: &Message, due_ms: i64) {
        // If the message expires first, it becomes a dead letter then, and its session continues.
        let until_ms = message.expires_ms.map_or(due_ms, |expires_ms| expires_ms.min(due_ms));
        self.sessions.entry(session.to_owned()).or_default().waits_at = Some(message.position);
        self.waiting.insert((until_ms, session.to_owned()));
    }

    /// A session whose wait is over, with the position after which its next message stands. It is busy until
    /// [`Self::go_on`] is told of that one.
    pub fn take_due(&mut self, now_ms: i64) -> Option<(String, i64)> {
        self.waiting.first().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        let (_, session) = self.waiting.pop_first()?;
        let position = self.sessions.get_mut(&session)?.waits_at.take()?;
        Some((session, position - 1))
    }

    /// Ends all waits, because the messages they wait for may be gone.
    pub fn end_waiting(&mut self, now_ms: i64) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting.extend(waiting.into_iter().map(|(_, session)| (now_ms, session)));
    }

    /// A session goes on with `next`, which is leased by that or waits still, or has nothing more. Gives it back if it is to
    /// be delivered.
    pub fn go_on(&mut self, session: &str, next: Option<Message>, now_ms: i64) -> Option<Message> {
        let next = next.filter(|next| !self.leases.contains_key(&next.number));
        match &next {
            Some(next) if next.due_ms > now_ms => {
                self.let_wait(session, next, next.due_ms);
                return None;
            }
            Some(next) => self.begin(next),
            None => drop(self.sessions.remove(session)),
        }
        next
    }

    /// Ends the leases of messages and frees their sessions, because all of them are to be read again. Returns the first
    /// position.
    pub fn abandon(&mut self, messages: &[Message]) -> Option<i64> {
        for message in messages {
            self.end(message);
            if let Some(session) = &message.session {
                self.sessions.remove(session);
            }
        }
        messages.iter().map(|message| message.position).min()
    }

    fn begin(&mut self, message: &Message) {
        let is_again = message.failures > 0 && message.session.is_some();
        let lease = Lease { position: message.position, is_again, stands_again: None };
        self.leases.insert(message.number, lease);
        self.bytes += message.body.len();
        self.again += usize::from(is_again);
    }

    fn end(&mut self, message: &Message) -> Option<Lease> {
        let lease = self.leases.remove(&message.number)?;
        self.bytes -= message.body.len();
        self.again -= usize::from(lease.is_again);
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: i64, session: Option<u8>) -> Message {
        Message {
            number,
            position: number,
            due_ms: 0,
            id: number.to_string(),
            session: session.map(|session| session.to_string()),
            content_type: String::new(),
            body: vec![0; 3].into(),
            sent_ms: 0,
            expires_ms: None,
            failures: 0,
            first_ms: None,
            last_error: String::new(),
        }
    }

    fn messages(sessions: &[Option<u8>]) -> Vec<Message> {
        sessions.iter().enumerate().map(|(number, session)| message(number as i64, *session)).collect()
    }

    /// Ends a delivery, and lets its session go on with what `all` has of it.
    fn end(leases: &mut Leases, ended: &Message, all: &[Message]) -> Vec<Message> {
        let released = leases.release(std::slice::from_ref(ended));
        assert_eq!(released.passed_over, None, "nothing failed");
        let next = released.sessions.into_iter().filter_map(|(session, after)| {
            let is_next =
                |message: &&Message| message.session.as_ref() == Some(&session) && message.position > after;
            leases.go_on(&session, all.iter().find(is_next).cloned(), 0)
        });
        next.collect()
    }

    proptest! {
        #[test]
        fn sessions_go_in_order_one_at_a_time_and_others_at_once(
            sessions in proptest::collection::vec(proptest::option::of(0..3_u8), 1..60),
            picks in proptest::collection::vec(any::<usize>(), 200),
            page in 1..7_usize,
        ) {
            let all = messages(&sessions);
            let (mut leases, mut under_way, mut done) = (Leases::default(), Vec::new(), Vec::new());
            let (mut unread, mut picks) = (all.chunks(page), picks.into_iter());
            while done.len() < all.len() {
                let pick = picks.next().unwrap_or_default();
                if pick % 3 == 0 || under_way.is_empty() {
                    // What is done is in no page; what a session has gone on with may be.
                    let page: Vec<Message> = unread.next().unwrap_or_default().to_vec();
                    let page: Vec<Message> = page.into_iter().filter(|one| !done.contains(one)).collect();
                    let alone: Vec<Message> = page.iter().filter(|one| one.session.is_none()).cloned().collect();
                    let now = leases.lease(page, true, 0);
                    prop_assert!(alone.iter().all(|one| now.contains(one)), "nobody is held up by a session");
                    under_way.extend(now);
                }
                if !under_way.is_empty() {
                    let ended: Message = under_way.swap_remove(pick % under_way.len());
                    under_way.extend(end(&mut leases, &ended, &all));
                    done.push(ended);
                }
                let mut busy: Vec<&String> = under_way.iter().filter_map(|message| message.session.as_ref()).collect();
                busy.sort();
                prop_assert!(busy.windows(2).all(|two| two[0] != two[1]), "two of one session under way");
                prop_assert_eq!((leases.count(), leases.bytes()), (under_way.len(), 3 * under_way.len()));
            }
            for session in 0..3_u8 {
                let name = Some(session.to_string());
                let order: Vec<i64> =
                    done.iter().filter(|message| message.session == name).map(|message| message.number).collect();
                prop_assert!(order.is_sorted());
            }
            prop_assert_eq!((under_way.len(), leases.sessions.len()), (0, 0));
        }

        #[test]
        fn what_stands_again_before_its_delivery_has_ended_is_read_once_more(
            fails in proptest::collection::vec(any::<bool>(), 1..20),
            ends in any::<usize>(),
        ) {
            let all = messages(&vec![None; fails.len()]);
            let mut leases = Leases::default();
            let mut under_way = leases.lease(all.clone(), false, 0);
            // They get positions after all others, and are read there before it is known that their deliveries are over.
            let count = fails.len() as i64;
            let failed = all.iter().zip(&fails).filter(|(_, fails)| **fails).map(|(message, _)| message);
            let again: Vec<Message> = failed
                .map(|message| Message { position: count + message.position, ..message.clone() })
                .collect();
            prop_assert_eq!(leases.lease(again.clone(), false, 0), vec![]);
            let mut read_from = None::<i64>;
            while !under_way.is_empty() {
                let ended = under_way.swap_remove(ends % under_way.len());
                let released = leases.release(std::slice::from_ref(&ended));
                read_from = read_from.into_iter().chain(released.passed_over).min();
            }
            prop_assert_eq!(read_from, again.first().map(|message| message.position));
            prop_assert_eq!(leases.lease(again.clone(), false, 0), again);
        }

        #[test]
        fn what_is_abandoned_is_leased_again_with_all_that_came_after_it(
            sessions in proptest::collection::vec(proptest::option::of(0..2_u8), 1..30),
        ) {
            let all = messages(&sessions);
            let mut leases = Leases::default();
            let under_way = leases.lease(all.clone(), true, 0);
            let first = leases.abandon(&under_way);
            prop_assert_eq!((leases.count(), leases.bytes(), first), (0, 0, Some(0)));
            prop_assert_eq!(leases.lease(all, true, 0), under_way);
        }
    }

    #[test]
    fn a_session_that_waits_takes_nobodys_place_and_goes_on_where_it_was() {
        let all = messages(&[Some(0), Some(0), Some(1), Some(2)]);
        let mut leases = Leases::default();
        let under_way = leases.lease(all.clone(), true, 0);
        assert_eq!(under_way, [all[0].clone(), all[2].clone(), all[3].clone()]);
        leases.wait(&all[0], 1_000);
        leases.wait(&Message { expires_ms: Some(700), ..all[2].clone() }, 2_000);
        assert_eq!(
            (leases.count(), leases.bytes(), leases.waiting(), leases.next_due()),
            (1, 3, 2, Some(700))
        );
        assert_eq!(leases.lease(all.clone(), true, 0), vec![], "nothing of them is read past");
        assert_eq!(leases.take_due(699), None);
        // What has expired meanwhile is gone.
        assert_eq!(leases.take_due(700), Some(("1".to_owned(), 1)));
        assert_eq!(leases.go_on("1", None, 700), None);
        // By hand, before its time: the message is there still, and is left alone.
        leases.end_waiting(800);
        assert_eq!(leases.take_due(800), Some(("0".to_owned(), -1)));
        let still_waits = Message { due_ms: 1_000, failures: 1, ..all[0].clone() };
        assert_eq!(leases.go_on("0", Some(still_waits.clone()), 800), None);
        assert_eq!((leases.take_due(999), leases.next_due()), (None, Some(1_000)));
        assert_eq!(leases.take_due(1_000), Some(("0".to_owned(), -1)));
        assert_eq!(leases.go_on("0", Some(still_waits.clone()), 1_000), Some(still_waits.clone()));
        assert_eq!((leases.again(), leases.count()), (1, 2));
        assert_eq!(leases.release(&[still_waits]).sessions, [("0".to_owned(), 0)], "there is more of it");
        assert_eq!(leases.go_on("0", Some(all[1].clone()), 1_000), Some(all[1].clone()));
        assert_eq!(leases.release(&all).sessions, [("0".to_owned(), 1)]);
        assert_eq!(leases.go_on("0", None, 1_000), None);
        assert_eq!((leases.count(), leases.bytes(), leases.sessions.len(), leases.waiting()), (0, 0, 0, 0));
        assert_eq!(leases.again(), 0);
    }

    #[test]
    fn what_waited_when_the_host_was_killed_waits_still() {
        let mut leases = Leases::default();
        let waits = Message { due_ms: 500, ..message(0, Some(0)) };
        let all = vec![waits.clone(), message(1, Some(0)), message(2, None)];
        assert_eq!(leases.lease(all.clone(), true, 0), [all[2].clone()]);
        assert_eq!(leases.take_due(500), Some(("0".to_owned(), -1)));
        assert_eq!(leases.go_on("0", Some(waits.clone()), 500), Some(waits));
    }
}
