//! Requests and answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use pets_cnode::{CallError, Config};

use crate::harness::{Epmd, PATIENCE, TestNode, Waiter, eventually, peer};

#[test]
fn nodes_call_each_other() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    assert_eq!(a.call(b.name(), b"e1"), Ok(b"e1".to_vec()));
    assert_eq!(b.call(a.name(), b"e2"), Ok(b"e2".to_vec()));
    assert_eq!(a.call(a.name(), b"e3"), Ok(b"e3".to_vec()), "a node may call itself");
    assert_eq!(a.node.stats().calls_in_flight, 0);
    assert_eq!(a.node.stats().incoming_calls_links, 2);
}

#[test]
fn thousands_of_calls_are_pipelined_and_answered_once() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let threads = 4;
    let each = 20_000;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (a, b) = (&a, &b);
            scope.spawn(move || {
                let (to, answers) = channel();
                for tag in 0..each {
                    let body = format!("e{thread}:{tag}");
                    let token = Waiter { tag, to: to.clone() };
                    assert!(a.node.call(b.name(), token, body.as_bytes()).is_ok());
                }
                drop(to);
                let mut seen = vec![false; each as usize];
                for (tag, outcome) in answers {
                    assert_eq!(outcome, Ok(format!("e{thread}:{tag}").into_bytes()));
                    assert!(!std::mem::replace(&mut seen[tag as usize], true));
                }
                assert!(seen.into_iter().all(|seen| seen));
            });
        }
    });
    assert_eq!(b.script.executed.load(Ordering::SeqCst), threads * each);
    assert_eq!(a.node.stats().calls_in_flight, 0);
    assert_eq!(a.node.stats().outgoing_calls_links, 1);
}

#[test]
fn a_held_request_does_not_hold_up_the_ones_behind_it() {
    let epmd = Epmd::start();
    // No tick of the links comes to their help.
    let net_ticktime = 8 * PATIENCE;
    let node = |alive| TestNode::start(Config { net_ticktime, ..epmd.config(alive) });
    let (a, b) = (node("pets_a"), node("pets_b"));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    let held = a.start_call(b.name(), b"h");
    b.wait_for_held(1);
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    let reply = b.script.held.lock().unwrap().pop().unwrap();
    reply.reply(|out| out.extend_from_slice(b"late"));
    assert_eq!(held.outcome(), Ok(b"late".to_vec()));
}

#[test]
fn large_requests_and_answers_arrive_whole() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let mut body = vec![b'e'];
    body.extend((0..10_000_000_u32).map(|index| ((index * 31) >> 8) as u8));
    let small = a.start_call(b.name(), b"e small");
    assert!(a.call(b.name(), &body) == Ok(body));
    assert_eq!(small.outcome(), Ok(b"e small".to_vec()));
}

#[test]
fn a_dropped_request_and_an_outsized_answer_are_reported() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    assert_eq!(a.call(b.name(), b"d"), Err(CallError::Cancelled));
    assert_eq!(a.call(b.name(), b"l"), Err(CallError::AnswerTooLarge));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
}

#[test]
fn a_panic_in_the_handler_ends_its_link_only() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let error = a.call(b.name(), b"p").expect_err("no answer");
    assert!(matches!(error, CallError::Cancelled | CallError::NodeDown), "{error}");
    eventually("the link is closed", || b.node.stats().incoming_calls_links == 0);
    eventually("the other side saw it", || a.node.stats().outgoing_calls_links == 0);
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
}

#[test]
fn limits_refuse_calls_and_return_the_token() {
    let epmd = Epmd::start();
    let config = Config { max_calls_in_flight: 3, ..epmd.config("pets_a") };
    let (a, b) = (TestNode::start(config), epmd.node("pets_b"));
    let held: Vec<_> = (0..3).map(|_| a.start_call(b.name(), b"h")).collect();
    assert_eq!(a.try_call(b.name(), b"e").err(), Some(CallError::Overloaded));
    b.wait_for_held(3);
    b.script.held.lock().unwrap().clear();
    for pending in held {
        assert_eq!(pending.outcome(), Err(CallError::Cancelled));
    }
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    let outsized = vec![b'e'; 65 << 20];
    let refused = a.try_call(b.name(), &outsized).err();
    assert!(matches!(refused, Some(CallError::Refused(_))), "{refused:?}");
    assert_eq!(a.node.stats().calls_in_flight, 0);
}

#[test]
fn the_peer_refuses_what_it_cannot_hold() {
    let epmd = Epmd::start();
    let config = Config { max_calls_in_flight: 3, ..epmd.config("pets_b") };
    let (a, b) = (epmd.node("pets_a"), TestNode::start(config));
    let held: Vec<_> = (0..3).map(|_| a.start_call(b.name(), b"h")).collect();
    b.wait_for_held(3);
    assert_eq!(a.call(b.name(), b"e"), Err(CallError::Overloaded));
    b.script.held.lock().unwrap().clear();
    drop(held);
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
}

#[test]
fn a_cancelled_call_gives_its_token_back_and_its_answer_is_dropped() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let held = a.start_call(b.name(), b"h");
    b.wait_for_held(1);
    assert!(a.node.cancel(held.id).is_some());
    assert!(a.node.cancel(held.id).is_none());
    assert_eq!(a.node.stats().calls_in_flight, 0);
    let reply = b.script.held.lock().unwrap().pop().unwrap();
    reply.reply(|out| out.push(1));
    let next = a.start_call(b.name(), b"e");
    assert_ne!(next.id, held.id);
    assert_eq!(next.outcome(), Ok(b"e".to_vec()));
    assert!(held.receiver.recv_timeout(Duration::ZERO).is_err());
}

#[test]
fn a_call_to_nobody_was_never_sent() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    for name in ["pets_nobody@127.0.0.1", "pets_b@no-such-host.invalid"] {
        assert_eq!(a.call(&peer(name), b"e"), Err(CallError::NotConnected), "{name}");
    }
    assert_eq!(a.node.stats().calls_in_flight, 0);
}

#[test]
fn a_lost_peer_fails_what_it_may_have_executed() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let held: Vec<_> = (0..100).map(|_| a.start_call(b.name(), b"h")).collect();
    b.wait_for_held(100);
    b.node.disconnect(a.name());
    for pending in held {
        assert_eq!(pending.outcome(), Err(CallError::NodeDown));
    }
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()), "it connects again");
    let repliers = std::mem::take(&mut *b.script.held.lock().unwrap());
    for reply in repliers {
        reply.reply(|out| out.push(1));
    }
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()), "late answers go nowhere");
}

#[test]
fn disconnecting_fails_calls_in_flight_at_once() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let held = a.start_call(b.name(), b"h");
    b.wait_for_held(1);
    a.node.disconnect(b.name());
    assert_eq!(held.outcome(), Err(CallError::NodeDown));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()), "it connects again");
}

#[test]
fn a_goodbye_separates_executed_from_not_executed_calls() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    let held = a.start_call(b.name(), b"h");
    b.wait_for_held(1);
    let leaving = b.node.runtime().block_on(async {
        tokio::time::timeout(Duration::from_millis(50), b.node.say_goodbye()).await
    });
    assert!(leaving.is_err(), "a request is still held");
    let late = a.start_call(b.name(), b"e");
    let reply = b.script.held.lock().unwrap().pop().unwrap();
    reply.reply(|out| out.push(1));
    assert_eq!(held.outcome(), Ok(vec![1]));
    assert_eq!(late.outcome(), Err(CallError::NotExecuted));
    b.node.runtime().block_on(b.node.say_goodbye());
    assert_eq!(a.call(b.name(), b"e"), Err(CallError::NotExecuted), "it takes no new callers");
    assert_eq!(b.script.executed.load(Ordering::SeqCst), 2);
}

#[test]
fn under_load_a_leaving_node_has_executed_exactly_what_it_answered() {
    let epmd = Epmd::start();
    for round in 0..10 {
        let a = epmd.node("pets_a");
        let b = epmd.node("pets_b");
        let (to, answers) = channel();
        let stopped = AtomicBool::new(false);
        let (answered, not_executed) = std::thread::scope(|scope| {
            for _ in 0..3 {
                let to = to.clone();
                let (a, b, stopped) = (&a, &b, &stopped);
                scope.spawn(move || {
                    while !stopped.load(Ordering::SeqCst) {
                        let token = Waiter { tag: 0, to: to.clone() };
                        // Calls over the limit are refused here, and do not count.
                        let _ = a.node.call(b.name(), token, b"e");
                    }
                });
            }
            drop(to);
            let mut answered = 0;
            let mut not_executed = 0;
            while let Ok((_, outcome)) = answers.recv_timeout(PATIENCE) {
                match outcome {
                    Ok(_) => answered += 1,
                    Err(error) => {
                        assert!(error.is_safe_to_retry(), "{error}");
                        not_executed += 1;
                    }
                }
                if answered == 1000 * (round + 1) {
                    let (b, stopped) = (&b, &stopped);
                    scope.spawn(move || {
                        b.node.stop();
                        stopped.store(true, Ordering::SeqCst);
                    });
                }
            }
            (answered, not_executed)
        });
        assert_eq!(b.script.executed.load(Ordering::SeqCst), answered);
        assert!(not_executed > 0, "the node left under load");
        assert_eq!(a.node.stats().calls_in_flight, 0);
    }
}
