//! Which messages of a queue are under way, and which of a session wait for the one before them. Pure.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::capability::queues::table::Message;

/// The leases of one consumer.
#[derive(Default)]
pub struct Leased {
    /// By number. Those that were read again, further on: what failed is due again as soon as that is stored, and its
    /// delivery may end a moment later.
    numbers: HashMap<i64, Option<i64>>,
    bytes: usize,
    /// Of each session that has a message under way, those that were read after it, in order.
    sessions: HashMap<String, VecDeque<Message>>,
}

/// What follows when leases end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GivenBack {
    /// Those of their sessions that are next.
    pub next: Vec<Message>,
    /// The first position at which one of them stands again and was passed over, to be read once more.
    pub passed_over: Option<i64>,
}

impl Leased {
    /// How many messages are leased, under way or not.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leases messages that were read, in order, except those that are leased already. Gives back those to be delivered
    /// now: with `in_sessions` one of each session.
    pub fn lease(&mut self, messages: Vec<Message>, in_sessions: bool) -> Vec<Message> {
        let mut now = Vec::with_capacity(messages.len());
        for message in messages {
            match self.numbers.entry(message.number) {
                Entry::Occupied(mut leased) => {
                    leased.insert(Some(message.position));
                    continue;
                }
                Entry::Vacant(free) => drop(free.insert(None)),
            }
            self.bytes += message.body.len();
            match &message.session {
                Some(session) if in_sessions => match self.sessions.get_mut(session) {
                    Some(after) => after.push_back(message),
                    None => {
                        self.sessions.insert(session.clone(), VecDeque::new());
                        now.push(message);
                    }
                },
                _ => now.push(message),
            }
        }
        now
    }

    /// Ends the leases of messages.
    pub fn give_back(&mut self, messages: &[Message]) -> GivenBack {
        let mut given_back = GivenBack::default();
        for message in messages {
            let Some(read_again) = self.end(message) else { continue };
            given_back.passed_over = given_back.passed_over.into_iter().chain(read_again).min();
            let Some(session) = &message.session else { continue };
            let Some(after) = self.sessions.get_mut(session) else { continue };
            match after.pop_front() {
                Some(message) => given_back.next.push(message),
                None => drop(self.sessions.remove(session)),
            }
        }
        given_back
    }

    /// Ends the leases of messages and of all that were read after them in their sessions. Gives back the first position
    /// of them.
    pub fn abandon(&mut self, messages: &[Message]) -> Option<i64> {
        let mut first = None::<i64>;
        for message in messages {
            let after = message.session.as_ref().and_then(|session| self.sessions.remove(session));
            for one in std::iter::once(message).chain(after.iter().flatten()) {
                self.end(one);
                first = Some(first.map_or(one.position, |first| first.min(one.position)));
            }
        }
        first
    }

    /// If it was leased, where it was read again meanwhile.
    fn end(&mut self, message: &Message) -> Option<Option<i64>> {
        let read_again = self.numbers.remove(&message.number)?;
        self.bytes -= message.body.len();
        Some(read_again)
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

    proptest! {
        #[test]
        fn sessions_go_in_order_one_at_a_time_and_others_at_once(
            sessions in proptest::collection::vec(proptest::option::of(0..3_u8), 1..60),
            picks in proptest::collection::vec(any::<usize>(), 200),
            page in 1..7_usize,
        ) {
            let all: Vec<Message> =
                sessions.iter().enumerate().map(|(number, session)| message(number as i64, *session)).collect();
            let (mut leased, mut under_way, mut done) = (Leased::default(), Vec::new(), Vec::new());
            let (mut unread, mut picks) = (all.chunks(page), picks.into_iter());
            while done.len() < all.len() {
                let pick = picks.next().unwrap_or_default();
                if pick % 3 == 0 || under_way.is_empty() {
                    // The same page twice is leased once.
                    for page in unread.next().into_iter().flat_map(|page| [page, page]) {
                        under_way.extend(leased.lease(page.to_vec(), true));
                    }
                }
                if !under_way.is_empty() {
                    let ended: Message = under_way.swap_remove(pick % under_way.len());
                    under_way.extend(leased.give_back(std::slice::from_ref(&ended)).next);
                    done.push(ended);
                }
                let mut busy: Vec<&String> = under_way.iter().filter_map(|message| message.session.as_ref()).collect();
                busy.sort();
                prop_assert!(busy.windows(2).all(|two| two[0] != two[1]), "two of one session under way");
            }
            for session in 0..3_u8 {
                let name = Some(session.to_string());
                let order: Vec<i64> =
                    done.iter().filter(|message| message.session == name).map(|message| message.number).collect();
                prop_assert!(order.is_sorted());
            }
            prop_assert_eq!((leased.count(), leased.bytes()), (0, 0));
        }

        #[test]
        fn what_stands_again_before_its_delivery_has_ended_is_read_once_more(
            fails in proptest::collection::vec(any::<bool>(), 1..20),
            ends in any::<usize>(),
        ) {
            let all: Vec<Message> = (0..fails.len()).map(|number| message(number as i64, None)).collect();
            let mut leased = Leased::default();
            let mut under_way = leased.lease(all.clone(), false);
            // They get positions after all others, and are read there before it is known that their deliveries are over.
            let count = fails.len() as i64;
            let failed = all.iter().zip(&fails).filter(|(_, fails)| **fails).map(|(message, _)| message);
            let again: Vec<Message> = failed
                .map(|message| Message { position: count + message.position, ..message.clone() })
                .collect();
            prop_assert_eq!(leased.lease(again.clone(), false), vec![]);
            let mut read_from = None::<i64>;
            while !under_way.is_empty() {
                let ended = under_way.swap_remove(ends % under_way.len());
                let given_back = leased.give_back(std::slice::from_ref(&ended));
                read_from = read_from.into_iter().chain(given_back.passed_over).min();
            }
            prop_assert_eq!(read_from, again.first().map(|message| message.position));
            prop_assert_eq!(leased.lease(again.clone(), false), again);
        }

        #[test]
        fn what_is_abandoned_is_leased_again_with_all_that_came_after_it(
            sessions in proptest::collection::vec(proptest::option::of(0..2_u8), 1..30),
        ) {
            let all: Vec<Message> =
                sessions.iter().enumerate().map(|(number, session)| message(number as i64, *session)).collect();
            let mut leased = Leased::default();
            let under_way = leased.lease(all.clone(), true);
            let first = leased.abandon(&under_way);
            prop_assert_eq!((leased.count(), leased.bytes(), first), (0, 0, Some(0)));
            prop_assert_eq!(leased.lease(all, true), under_way);
        }
    }
}
