//! Starting, stopping, and coming back.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pets_cnode::{CallError, Config, Node, StartError};

use crate::harness::{Epmd, PATIENCE, TestNode, connect, eventually};

#[test]
fn a_node_starts_and_stops_cleanly_many_times() {
    let epmd = Epmd::start();
    for _ in 0..20 {
        let a = epmd.node("pets_a");
        assert!(epmd.names().contains("name pets_a at port"));
        assert_eq!(a.call(a.name(), b"e"), Ok(b"e".to_vec()));
        let start = Instant::now();
        a.node.stop();
        a.node.stop();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert!(!epmd.names().contains("pets_a"), "the name is given back");
        assert_eq!(a.try_call(a.name(), b"e").err(), Some(CallError::NotConnected));
        assert_eq!(a.node.cast(a.name(), vec![]), Err(CallError::NotConnected));
        let script = a.script;
        drop(a.node);
        assert_eq!(Arc::strong_count(&script), 1, "no task is left");
    }
}

#[test]
fn stopping_fails_calls_in_flight_on_both_sides() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    let held: Vec<_> = (0..10).map(|_| a.start_call(b.name(), b"h")).collect();
    let own: Vec<_> = (0..10).map(|_| b.start_call(a.name(), b"h")).collect();
    b.wait_for_held(10);
    a.wait_for_held(10);
    let start = Instant::now();
    b.node.stop();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for pending in held.into_iter().chain(own) {
        assert_eq!(pending.outcome(), Err(CallError::NodeDown));
    }
}

#[test]
fn short_names_work() {
    let epmd = Epmd::start();
    let short = |name: &str| Config {
        name: format!("{name}@localhost"),
        long_names: false,
        ..epmd.config(name)
    };
    let (a, b) = (TestNode::start(short("pets_a")), TestNode::start(short("pets_b")));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
}

#[test]
fn a_node_stopped_on_one_of_its_own_threads_stops_without_waiting() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let (done, stopped) = std::sync::mpsc::channel();
    let node = Arc::new(a);
    let inner = Arc::clone(&node);
    node.node.runtime().spawn(async move {
        inner.node.stop();
        let _ = done.send(());
    });
    stopped.recv_timeout(PATIENCE).expect("it returns");
    eventually("the name is given back", || !epmd.names().contains("pets_a"));
}

#[test]
fn a_peer_that_comes_back_is_reached_again() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let b = epmd.node("pets_b");
    let name = b.name().clone();
    assert_eq!(a.call(&name, b"e"), Ok(b"e".to_vec()));
    drop(b);
    let error = a.call(&name, b"e").expect_err("it is gone");
    assert!(error.is_safe_to_retry(), "{error}");
    let b = epmd.node("pets_b");
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
}

#[test]
fn a_node_registers_again_when_epmd_comes_back() {
    let epmd = Epmd::start();
    let port = epmd.port;
    let a = epmd.node("pets_a");
    drop(epmd);
    let epmd = Epmd::start_at(port);
    eventually("it is registered again", || epmd.names().contains("name pets_a at port"));
    let b = epmd.node("pets_b");
    assert_eq!(b.call(a.name(), b"e"), Ok(b"e".to_vec()));
}

fn start_error(config: Config) -> StartError {
    let script = {
        let epmd = Epmd::start();
        epmd.node("pets_donor").script.clone()
    };
    match Node::start(config, Arc::clone(&script)) {
        Ok(_) => panic!("it must not start"),
        Err(error) => error,
    }
}

#[test]
fn what_keeps_a_node_from_starting_is_named() {
    let epmd = Epmd::start();
    let _a = epmd.node("pets_a");
    let error = start_error(epmd.config("pets_a"));
    assert!(matches!(&error, StartError::NameTaken(name) if name == "pets_a"), "{error}");
    let short = Config { long_names: false, ..epmd.config("pets_b") };
    let error = start_error(short);
    assert!(matches!(error, StartError::HostForm { .. }), "{error}");
    let error = start_error(Config { name: "pets_b".into(), ..epmd.config("x") });
    assert!(matches!(error, StartError::InvalidName(_)), "{error}");
    let gone = epmd.config("pets_b");
    drop(epmd);
    let error = start_error(gone);
    assert!(matches!(error, StartError::EpmdUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("epmd -daemon"), "{error}");
}

#[test]
fn an_epmd_that_does_not_answer_is_given_up() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        epmd_port: mute.local_addr().unwrap().port(),
        connect_timeout: Duration::from_millis(100),
        ..Config::new("pets_a@127.0.0.1", "secret")
    };
    let error = start_error(config);
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[test]
fn ticks_keep_idle_links_up() {
    let epmd = Epmd::start();
    let short = |name| Config { net_ticktime: Duration::from_millis(200), ..epmd.config(name) };
    let (a, b) = (TestNode::start(short("pets_a")), TestNode::start(short("pets_b")));
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    a.node.cast(b.name(), vec![1]).unwrap();
    eventually("the bulk link is up", || b.node.stats().incoming_bulk_links == 1);
    let held = a.start_call(b.name(), b"h");
    let before = a.node.stats();
    // Ticks are what is waited for: several time-outs' worth of them, four in each ticktime.
    eventually("ticks are exchanged", || {
        a.node.stats().bytes_received > before.bytes_received + 2 * 4 * 20
    });
    let reply = b.script.held.lock().unwrap().pop().unwrap();
    reply.reply(|out| out.push(1));
    assert_eq!(held.outcome(), Ok(vec![1]));
    assert_eq!(b.node.stats().incoming_bulk_links, 1);
    assert_eq!(b.node.stats().incoming_calls_links, 1);
}

#[test]
fn a_node_full_of_unproved_connections_recovers() {
    let epmd = Epmd::start();
    let config = Config { connect_timeout: Duration::from_secs(1), ..epmd.config("pets_b") };
    let b = TestNode::start(config);
    let a = epmd.node("pets_a");
    let idle: Vec<_> = (0..300).map(|_| connect(b.node.address())).collect();
    eventually("some are refused", || b.has_logged("have not proved themselves"));
    // The others are closed when their time is up, without anybody's help.
    let deadline = Instant::now() + PATIENCE;
    while a.call(b.name(), b"e").is_err() {
        assert!(Instant::now() < deadline);
    }
    drop(idle);
}
