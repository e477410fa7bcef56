//! Ordered one-way messages.

use std::sync::atomic::Ordering;

use pets_cnode::{CallError, Config, Direction};

use crate::harness::{Epmd, Event, TestNode, eventually, peer};

#[test]
fn casts_arrive_in_order_and_both_sides_see_the_link() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let sizes = [0, 1, 100, 20_000, 300_000, 5];
    let message = |index: usize| vec![index as u8; sizes[index % sizes.len()]];
    let link = a.node.cast(b.name(), message(0)).unwrap();
    assert_eq!(link.direction, Direction::Outgoing);
    for index in 1..600 {
        let sent = a.node.runtime().block_on(a.node.send_bulk(b.name(), message(index)));
        assert_eq!(sent, Ok(link));
    }
    assert_eq!(a.event(), Event::BulkUp(b.name().clone(), link));
    let Event::BulkUp(from, incoming) = b.event() else { panic!("the link comes first") };
    assert_eq!((&from, incoming.direction), (a.name(), Direction::Incoming));
    for index in 0..600 {
        assert_eq!(b.event(), Event::Cast(a.name().clone(), incoming, message(index)));
    }
    b.node.stop();
    assert_eq!(b.event(), Event::BulkDown(a.name().clone(), incoming));
    assert_eq!(a.event(), Event::BulkDown(b.name().clone(), link));
}

#[test]
fn a_slow_receiver_slows_the_sender_down() {
    let epmd = Epmd::start();
    let config = Config { queue_limit_bytes: 1 << 20, ..epmd.config("pets_a") };
    let (a, b) = (TestNode::start(config), epmd.node("pets_b"));
    b.script.slow.store(true, Ordering::SeqCst);
    let mut sent = 0;
    loop {
        match a.node.cast(b.name(), vec![1; 100_000]) {
            Ok(_) => sent += 1,
            Err(CallError::Overloaded) if sent > 0 && b.node.stats().incoming_bulk_links == 1 => {
                // Full three times in a row with the link up: nothing moves any more.
                if (0..50).all(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                    a.node.cast(b.name(), vec![1; 100_000]).map(|_| sent += 1).is_err()
                }) {
                    break;
                }
            }
            Err(CallError::Overloaded) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1000, "the queue is bounded");
    }
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()), "calls are not behind bulk data");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            a.node.runtime().block_on(a.node.send_bulk(b.name(), vec![2; 3 << 20])).unwrap()
        });
        b.script.slow.store(false, Ordering::SeqCst);
        waiting.join().unwrap();
    });
    let mut received = 0;
    loop {
        match b.event() {
            Event::Cast(_, _, body) if body.len() == 100_000 => received += 1,
            Event::Cast(_, _, body) => {
                assert_eq!(body.len(), 3 << 20, "larger than the queue, it still goes through");
                break;
            }
            _ => {}
        }
    }
    assert_eq!(received, sent);
}

#[test]
fn a_link_that_cannot_be_made_is_reported_as_down() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let nobody = peer("pets_nobody@127.0.0.1");
    let link = a.node.cast(&nobody, vec![1]).unwrap();
    assert_eq!(a.event(), Event::BulkDown(nobody.clone(), link));
    let next = a.node.cast(&nobody, vec![1]).unwrap();
    assert_ne!(next.id, link.id);
    assert_eq!(a.event(), Event::BulkDown(nobody, next));
}

#[test]
fn links_follow_each_other_without_overlap() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    for round in 0..30_u8 {
        // The link of the round before may be broken under the message: then the next one counts.
        let link = loop {
            if let Ok(link) = a.node.cast(b.name(), vec![round]) {
                break link;
            }
        };
        assert_eq!(a.event(), Event::BulkUp(b.name().clone(), link));
        let Event::BulkUp(_, incoming) = b.event() else { panic!("the link comes first") };
        assert_eq!(b.event(), Event::Cast(a.name().clone(), incoming, vec![round]));
        if round % 2 == 0 {
            a.node.disconnect(b.name());
        } else {
            b.node.disconnect(a.name());
        }
        assert_eq!(a.event(), Event::BulkDown(b.name().clone(), link));
        assert_eq!(b.event(), Event::BulkDown(a.name().clone(), incoming));
    }
    eventually("all links are gone", || b.node.stats().incoming_bulk_links == 0);
}
