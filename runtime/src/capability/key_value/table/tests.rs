//! Tests the tables against a model: what is stored, how it is counted, and what a version means.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::capability::stores::AccessError;
use crate::manifest::grants::StoreName;
use crate::names::AppName;
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

#[derive(Debug, Clone)]
enum Action {
    Put(usize, String, Vec<u8>, bool),
    Delete(usize, String),
    Increment(usize, String, i64),
    Drop(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let key =
        || prop_oneof![Just("a".to_owned()), Just("ab".to_owned()), Just("ä\0".to_owned()), "[a-c]{1,3}"];
    prop_oneof![
        4 => (0..3_usize, key(), proptest::collection::vec(any::<u8>(), 0..40), any::<bool>())
            .prop_map(|(place, key, value, absent)| Action::Put(place, key, value, absent)),
        2 => (0..3_usize, key()).prop_map(|(place, key)| Action::Delete(place, key)),
        2 => (0..3_usize, key(), any::<i8>()).prop_map(|(place, key, by)| Action::Increment(place, key, by.into())),
        1 => (0..2_usize).prop_map(Action::Drop),
    ]
}

proptest! {
    #[test]
    fn stores_hold_and_count_what_a_map_would(actions in proptest::collection::vec(action(), 0..60)) {
        let mut connection = database();
        let transaction = connection.transaction().unwrap();
        let places = [place("a", "s"), place("a", "t"), place("b", "s")];
        let mut model: [BTreeMap<String, Vec<u8>>; 3] = Default::default();
        let mut last = 0;
        for action in actions {
            match action {
                Action::Put(at, key, value, absent) => {
                    let condition = if absent { Condition::Absent } else { Condition::Any };
                    let put = put(&transaction, &places[at], &key, &value, condition);
                    if absent && model[at].contains_key(&key) {
                        prop_assert_eq!(put, Err(KeyValueError::Changed));
                    } else {
                        let version = put.unwrap();
                        prop_assert!(version > last, "a version came twice");
                        last = version;
                        model[at].insert(key, value);
                    }
                }
                Action::Delete(at, key) => {
                    let was_there = delete(&transaction, &places[at], &key, Condition::Any).unwrap();
                    prop_assert_eq!(was_there, model[at].remove(&key).is_some());
                }
                Action::Increment(at, key, by) => {
                    let number = match model[at].get(&key) {
                        Some(value) => std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()),
                        None => Some(0),
                    };
                    match number.and_then(|number| number.checked_add(by)) {
                        Some(sum) => {
                            prop_assert_eq!(increment(&transaction, &places[at], &key, by), Ok(sum));
                            last = version(&transaction, &places[at], &key).unwrap().unwrap();
                            model[at].insert(key, sum.to_string().into_bytes());
                        }
                        None => prop_assert_eq!(
                            increment(&transaction, &places[at], &key, by),
                            Err(KeyValueError::NotANumber)
                        ),
                    }
                }
                Action::Drop(app) => {
                    drop_stores(&transaction, &places[app + 1].app).unwrap();
                    let gone = if app == 0 { 0..2 } else { 2..3 };
                    model[gone].iter_mut().for_each(BTreeMap::clear);
                }
            }
        }
        for (place, model) in places.iter().zip(&model) {
            for (key, value) in model {
                prop_assert_eq!(&get(&transaction, place, key).unwrap().unwrap().value, value);
            }
            let listed = keys(&transaction, place, "", "", 1_000).unwrap();
            prop_assert_eq!(&listed, &model.keys().cloned().collect::<Vec<_>>());
            let with_prefix: Vec<_> = model.keys().filter(|key| key.starts_with('a')).cloned().collect();
            prop_assert_eq!(&keys(&transaction, place, "a", "", 1_000).unwrap(), &with_prefix);
            let after: Vec<_> = with_prefix.iter().filter(|key| key.as_str() > "ab").take(1).cloned().collect();
            prop_assert_eq!(keys(&transaction, place, "a", "ab", 1).unwrap(), after);
            let counted = stores(&transaction, &place.app).unwrap();
            let counted = counted.iter().find(|(name, _)| name == place.store.as_str());
            let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len()).sum();
            let expected = Usage { keys: model.len() as i64, bytes: bytes as i64 };
            prop_assert_eq!(counted.map_or(Usage::default(), |(_, usage)| *usage), expected);
        }
        while sweep(&transaction).unwrap() {}
        let count = "SELECT count(*) FROM key_value_entry";
        let entries: i64 = transaction.query_row(count, [], |row| row.get(0)).unwrap();
        prop_assert_eq!(entries, model.iter().map(BTreeMap::len).sum::<usize>() as i64);
    }
}

#[test]
fn a_version_is_of_one_write_also_after_a_delete() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let place = place("a", "s");
    let first = put(&transaction, &place, "k", b"1", Condition::Absent).unwrap();
    let second = put(&transaction, &place, "k", b"2", Condition::At(first)).unwrap();
    assert_eq!(put(&transaction, &place, "k", b"3", Condition::At(first)), Err(KeyValueError::Changed));
    assert_eq!(delete(&transaction, &place, "k", Condition::At(first)), Err(KeyValueError::Changed));
    assert_eq!(delete(&transaction, &place, "k", Condition::At(second)), Ok(true));
    assert_eq!(delete(&transaction, &place, "k", Condition::Present), Err(KeyValueError::Changed));
    let third = put(&transaction, &place, "k", b"2", Condition::Any).unwrap();
    assert!(third > second, "a number came twice");
}

#[test]
fn a_full_store_takes_only_what_makes_it_no_larger() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let (one, other) = (place("a", "s"), place("a", "t"));
    put(&transaction, &one, "k", b"12345", Condition::Any).unwrap();
    let almost_all = limits::KEY_VALUE_BYTES_PER_APP_MAX as i64 - 8;
    transaction.execute("UPDATE key_value_store SET bytes = ?1", [almost_all]).unwrap();
    let full = Err(KeyValueError::StoreFull(one.app.clone()));
    // Eight bytes are left, in all stores of the app together.
    assert_eq!(put(&transaction, &other, "key", b"123456", Condition::Any), full);
    assert!(put(&transaction, &other, "key", b"12345", Condition::Any).is_ok());
    assert_eq!(put(&transaction, &one, "k", b"123456", Condition::Any), full);
    assert!(put(&transaction, &one, "k", b"54321", Condition::Any).is_ok());
    assert_eq!(delete(&transaction, &other, "key", Condition::Any), Ok(true));
    assert!(put(&transaction, &one, "k", b"123456", Condition::Any).is_ok());
    assert!(put(&transaction, &place("b", "s"), "key", &[0; 4096], Condition::Any).is_ok());
    let all = limits::KEY_VALUE_KEYS_PER_APP_MAX as i64;
    transaction.execute("UPDATE key_value_store SET keys = ?1, bytes = 0", [all]).unwrap();
    assert_eq!(put(&transaction, &one, "new", b"", Condition::Any), full);
}

#[test]
fn an_app_that_was_removed_makes_no_stores() {
    let mut connection = database();
    let transaction = connection.transaction().unwrap();
    let place = place("c", "s");
    let refused = Err(AccessError::NoOwner(Kind::KeyValueStore, place.clone()).into());
    assert_eq!(put(&transaction, &place, "k", b"", Condition::Any), refused);
}
