//! Sessions of queues: one key in order, one message at a time, and others beside it.

use crate::harness::{Host, until};
use crate::queues::{admin, deploy, held, until_delivered};
use crate::upstream::Upstream;

#[test]
fn a_session_with_more_than_is_fetched_at_a_time_holds_up_nobody() {
    let (host, upstream) = (Host::start(), Upstream::start());
    // Two may be in flight; the first of session a takes longer than everything else together.
    deploy(&host, "shop", &upstream, "session = true\nbatch_size = 1\nmax_in_flight = 2");
    let post = |session: &str, body: &str| {
        admin(&host, "POST", &format!("shop/queues/work?session={session}"), body).ok();
    };
    post("a", "slow 5000");
    for number in 0..150 {
        post("a", &format!("a{number}"));
    }
    for number in 0..20 {
        post("b", &format!("b{number}"));
    }
    until_delivered(&host, "shop");
    let bodies: Vec<String> = upstream.sunk().into_iter().map(|event| event.body).collect();
    let of = |session: &str| -> Vec<String> {
        let is_of = |body: &&String| body.starts_with(session) && !body.starts_with("slow");
        bodies.iter().filter(is_of).cloned().collect()
    };
    assert_eq!(of("a"), (0..150).map(|number| format!("a{number}")).collect::<Vec<_>>());
    assert_eq!(of("b"), (0..20).map(|number| format!("b{number}")).collect::<Vec<_>>());
    let place = |body: &str| bodies.iter().position(|one| one == body).unwrap();
    assert!(place("b19") < place("a0"), "{bodies:?}");
}

#[test]
fn a_session_is_in_order_whatever_fails_and_sessions_go_side_by_side() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "session = true\nretry_delay = \"50ms\"\nmax_deliveries = 3");
    let post = |session: &str, body: &str| {
        admin(&host, "POST", &format!("shop/queues/work?session={session}"), body).ok();
    };
    for number in 0..40 {
        for session in ["a", "b", "c"] {
            let body = match number {
                7 => "fail 1".to_owned(),
                9 => "slow 100".to_owned(),
                11 if session == "b" => "fail 9".to_owned(),
                _ => format!("{session}{number}"),
            };
            post(session, &body);
        }
    }
    until("all but one are delivered", || (held(&host, "shop") == (0, 1)).then_some(()));
    for session in ["a", "b", "c"] {
        let of: Vec<_> =
            upstream.sunk().into_iter().filter(|event| event.header("ce-partitionkey") == session).collect();
        // Names of the host's own are in the order of sending.
        let names: Vec<&str> = of.iter().map(|event| event.header("ce-id")).collect();
        assert!(names.is_sorted(), "{session}: {names:?}");
        let again = if session == "b" { 3 } else { 1 };
        assert_eq!(of.len(), 40 + again, "{session}");
    }
    assert!((2..=3).contains(&upstream.most()), "{} sessions side by side", upstream.most());
}

#[test]
fn sessions_that_wait_hold_up_no_other_and_wait_through_a_restart() {
    let (host, upstream) = (Host::start(), Upstream::start());
    // Longer than this test may take.
    let trigger =
        "session = true\nmax_in_flight = 4\nbatch_size = 1\nretry = \"fixed\"\nretry_delay = \"1h\"";
    deploy(&host, "shop", &upstream, trigger);
    let post = |host: &Host, session: &str, body: &str| {
        admin(host, "POST", &format!("shop/queues/work?session={session}"), body).ok();
    };
    for number in 0..20 {
        post(&host, &format!("poison-{number}"), "fail 9");
        post(&host, &format!("poison-{number}"), "behind it");
    }
    for number in 0..20 {
        post(&host, &format!("fine-{}", number % 3), "fine");
    }
    until("all others are delivered", || {
        (upstream.sunk().iter().filter(|event| event.body == "fine").count() == 20).then_some(())
    });
    let poison = || upstream.sunk().iter().filter(|event| event.body == "fail 9").count();
    assert_eq!((poison(), held(&host, "shop")), (20, (40, 0)));
    // They are not tried again because the host was killed.
    let host = Host::start_in(&host.kill(), &[]);
    post(&host, "fine-0", "after");
    until("what comes later is delivered", || {
        upstream.sunk().iter().any(|event| event.body == "after").then_some(())
    });
    assert_eq!((poison(), held(&host, "shop")), (20, (40, 0)));
    // What an operator removes is not waited for.
    assert_eq!(host.wfn(&["queue", "purge", "shop", "work"]).ok(), "removed 40 messages\n");
    for number in 0..20 {
        post(&host, &format!("poison-{number}"), "in its place");
    }
    until("their sessions go on", || {
        (upstream.sunk().iter().filter(|event| event.body == "in its place").count() == 20).then_some(())
    });
    assert_eq!(held(&host, "shop"), (0, 0));
    assert!(!upstream.sunk().iter().any(|event| event.body == "behind it"));
}

#[test]
fn a_session_goes_on_when_what_it_waits_for_has_expired() {
    let (host, upstream) = (Host::start(), Upstream::start());
    deploy(&host, "shop", &upstream, "session = true\nretry = \"fixed\"\nretry_delay = \"1h\"");
    admin(&host, "POST", "shop/queues/work?session=a&ttl=1", "fail 9").ok();
    admin(&host, "POST", "shop/queues/work?session=a", "behind it").ok();
    until_delivered(&host, "shop");
    assert_eq!(held(&host, "shop"), (0, 1));
    let bodies: Vec<String> = upstream.sunk().into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, ["fail 9", "behind it"]);
}

#[test]
fn sessions_that_fail_again_and_again_leave_room_for_others() {
    let (host, upstream) = (Host::start(), Upstream::start());
    let trigger = "session = true\nmax_in_flight = 4\nbatch_size = 1\nretry = \"fixed\"\nretry_delay = \"1ms\"\nmax_deliveries = 1000";
    deploy(&host, "shop", &upstream, trigger);
    for number in 0..50 {
        admin(&host, "POST", &format!("shop/queues/work?session=poison-{number}"), "fail 1000000").ok();
    }
    let delivered = |body: &str| upstream.sunk().iter().filter(|event| event.body == body).count();
    until("they come again and again", || (delivered("fail 1000000") > 200).then_some(()));
    for number in 0..20 {
        admin(&host, "POST", &format!("shop/queues/work?session=fine-{number}"), "fine").ok();
    }
    until("the others are delivered", || (delivered("fine") == 20).then_some(()));
    assert_eq!(held(&host, "shop"), (50, 0), "the poison goes on meanwhile");
}
