//! Not a test: `cargo test --release -p pets_cnode --test nodes measure -- --ignored --nocapture`.

use std::sync::mpsc::channel;
use std::time::Instant;

use crate::harness::{Epmd, Event, Waiter};

#[test]
#[ignore = "a measurement"]
fn measure() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let body = [b'e'; 32];
    for _ in 0..3 {
        let mut times: Vec<u128> = (0..20_000)
            .map(|_| {
                let start = Instant::now();
                a.call(b.name(), &body).unwrap();
                start.elapsed().as_nanos()
            })
            .collect();
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("1 caller: p50 {p50} ns, p99 {p99} ns");
        for window in [8_u64, 64, 1024] {
            let (to, answers) = channel();
            let total = 400_000;
            let send = |tag| {
                let token = Waiter { tag, to: to.clone() };
                assert!(a.node.call(b.name(), token, &body).is_ok());
            };
            let start = Instant::now();
            (0..window).for_each(send);
            for tag in window..total {
                answers.recv().unwrap().1.unwrap();
                send(tag);
            }
            (0..window).for_each(|_| drop(answers.recv().unwrap().1.unwrap()));
            let rate = total as f64 / start.elapsed().as_secs_f64();
            println!("{window} in flight, one thread: {rate:.0} calls/s");
        }
    }
    let chunks = 4_000;
    let chunk = vec![7; 128 << 10];
    let start = Instant::now();
    a.node.runtime().block_on(async {
        for _ in 0..chunks {
            a.node.send_bulk(b.name(), chunk.clone()).await.unwrap();
        }
    });
    let mut received = 0;
    while received < chunks {
        if let Event::Cast(..) = b.event() {
            received += 1;
        }
    }
    let bytes = chunks as f64 * chunk.len() as f64;
    println!("bulk: {:.0} MB/s", bytes / start.elapsed().as_secs_f64() / 1e6);
}
