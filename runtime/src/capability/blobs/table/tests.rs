//! Tests the tables against a model: what is visible, how it is counted, and which bytes are to be removed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
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

fn named(name: &str) -> BlobName {
    BlobName::new(name).unwrap()
}

fn uploaded(version: Version, name: &str, bytes: u64) -> Uploaded {
    Uploaded { version, name: named(name), bytes, content_type: "text/plain".into() }
}

/// One change, as the database thread runs it.
fn change<T>(connection: &mut Connection, change: impl FnOnce(&Transaction<'_>) -> T) -> T {
    let transaction = connection.transaction().unwrap();
    let result = change(&transaction);
    transaction.commit().unwrap();
    result
}

#[derive(Debug, Clone)]
enum Action {
    Put(usize, String, u64, bool),
    GiveUp(usize),
    Delete(usize, String),
    Drop(usize),
    Sweep,
}

fn action() -> impl Strategy<Value = Action> {
    let name = || prop_oneof![Just("ä b".to_owned()), "[ab](/[a-c]{1,2})?"];
    prop_oneof![
        5 => (0..3_usize, name(), 0..1_000_u64, any::<bool>())
            .prop_map(|(place, name, bytes, absent)| Action::Put(place, name, bytes, absent)),
        1 => (0..3_usize).prop_map(Action::GiveUp),
        2 => (0..3_usize, name()).prop_map(|(place, name)| Action::Delete(place, name)),
        1 => (0..2_usize).prop_map(Action::Drop),
        1 => Just(Action::Sweep),
    ]
}

proptest! {
    #[test]
    fn what_is_seen_counted_and_swept_is_what_the_model_says(actions in proptest::collection::vec(action(), 1..40)) {
        let mut connection = database();
        let places = [place("a", "x"), place("a", "y"), place("b", "x")];
        let mut model: [BTreeMap<String, (Version, u64)>; 3] = Default::default();
        // Every object that was begun, until a sweep returns it.
        let mut stored = BTreeSet::new();
        for action in actions {
            match action {
                Action::Put(index, name, bytes, absent) => {
                    let condition = if absent { Condition::Absent } else { Condition::Any };
                    let result = change(&mut connection, |t| {
                        let object = begin(t, &places[index]).unwrap();
                        assert!(stored.insert(object.version), "a version came twice");
                        let result = finish(t, &places[index], &uploaded(object.version, &name, bytes), condition, 0);
                        result.map(|()| object.version)
                    });
                    match result {
                        Ok(version) => {
                            prop_assert!(!absent || !model[index].contains_key(&name));
                            model[index].insert(name, (version, bytes));
                        }
                        Err(error) => prop_assert!(
                            absent && model[index].contains_key(&name) && matches!(error, BlobError::Changed)
                        ),
                    }
                }
                Action::GiveUp(index) => {
                    let object = change(&mut connection, |t| begin(t, &places[index])).unwrap();
                    stored.insert(object.version);
                }
                Action::Delete(index, name) => {
                    let was_there = change(&mut connection, |t| delete(t, &places[index], &named(&name), Condition::Any));
                    prop_assert_eq!(was_there.unwrap(), model[index].remove(&name).is_some());
                }
                Action::Drop(app) => {
                    let name = AppName::new(["a", "b"][app]).unwrap();
                    change(&mut connection, |t| drop_containers(t, &name)).unwrap();
                    model.iter_mut().zip(&places).filter(|(_, place)| place.app == name).for_each(|(m, _)| m.clear());
                }
                Action::Sweep => {
                    loop {
                        let objects = change(&mut connection, |t| removable(t, |_| false)).unwrap();
                        if objects.is_empty() { break; }
                        objects.iter().for_each(|object| assert!(stored.remove(&object.version)));
                        change(&mut connection, |t| forget(t, &objects)).unwrap();
                    }
                    let seen: BTreeSet<Version> = model.iter().flat_map(|m| m.values().map(|(v, _)| *v)).collect();
                    prop_assert_eq!(&stored, &seen);
                }
            }
            for (place, model) in places.iter().zip(&model) {
                let listed = list(&connection, place, "", "", 1_000).unwrap();
                let listed: Vec<_> = listed.into_iter().map(|blob| (blob.name, (blob.version, blob.bytes))).collect();
                prop_assert_eq!(listed, model.clone().into_iter().collect::<Vec<_>>());
                let held = containers(&connection, &place.app).unwrap();
                let usage = held.iter().find(|(name, _)| name == place.store.as_str()).map(|(_, usage)| *usage);
                let bytes = model.values().map(|(_, bytes)| *bytes as i64).sum();
                prop_assert_eq!(usage.unwrap_or_default(), Usage { blobs: model.len() as i64, bytes });
            }
        }
    }
}

#[test]
fn an_upload_that_a_sweep_took_for_dead_cannot_be_finished() {
    let mut connection = database();
    let place = place("a", "x");
    let object = change(&mut connection, |t| begin(t, &place)).unwrap();
    assert_eq!(change(&mut connection, |t| removable(t, |version| version == object.version)).unwrap(), []);
    assert_eq!(change(&mut connection, |t| removable(t, |_| false)).unwrap(), std::slice::from_ref(&object));
    let finished =
        change(&mut connection, |t| finish(t, &place, &uploaded(object.version, "n", 1), Condition::Any, 0));
    assert!(matches!(finished, Err(BlobError::GivenUp)));
    assert_eq!(object.folder, "a/x");
}

#[test]
fn containers_are_bounded_and_need_an_owner() {
    let mut connection = database();
    let most = limits::BLOB_BYTES_PER_APP_MAX;
    let mut put = |place: &Place, name: &str, bytes: u64| {
        let transaction = connection.transaction().unwrap();
        let object = begin(&transaction, place).unwrap();
        let put = finish(&transaction, place, &uploaded(object.version, name, bytes), Condition::Any, 0);
        if put.is_ok() {
            transaction.commit().unwrap();
        }
        put
    };
    let (x, y) = (place("a", "x"), place("a", "y"));
    put(&x, "large", most).unwrap();
    assert!(matches!(put(&y, "n", 1), Err(BlobError::Full(_))));
    put(&x, "large", most - 1).unwrap();
    put(&y, "n", 1).unwrap();
    put(&place("b", "x"), "n", 1).unwrap();
    assert!(matches!(put(&place("nobody", "x"), "n", 1), Err(BlobError::Access(AccessError::NoOwner(..)))));
}

#[test]
fn bytes_do_not_move_unnoticed() {
    let mut connection = database();
    let mut located = |location: &str| change(&mut connection, |t| locate(t, location)).unwrap();
    assert_eq!((located("here"), located("there"), located("here")), (None, None, None));
    change(&mut connection, |t| begin(t, &place("a", "x"))).unwrap();
    let mut located = |location: &str| change(&mut connection, |t| locate(t, location)).unwrap();
    assert_eq!((located("there"), located("here")), (Some("here".to_owned()), None));
}
