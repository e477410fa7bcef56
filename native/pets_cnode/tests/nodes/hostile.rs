//! Peers that are broken, foreign, silent or malicious.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use erl_dist::epmd::{EpmdClient, NodeEntry};
use erl_dist::handshake::{ClientSideHandshake, HandshakeStatus, ServerSideHandshake};
use erl_dist::node::{Creation, LocalNode};
use pets_cnode::{CallError, Config};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::harness::{Epmd, PATIENCE, TestNode, connect, eventually, peer};

const NAME: &str = "pets_rogue@127.0.0.1";

fn local_node() -> LocalNode {
    LocalNode::new(NAME.parse().unwrap(), Creation::new(1))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Back to a blocking socket, for a test to read and write.
fn blocking(stream: tokio::net::TcpStream) -> TcpStream {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection that knows the cookie, and nothing else.
fn proved(node: &TestNode) -> TcpStream {
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(node.node.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut handshake = ClientSideHandshake::new(stream.compat(), local_node(), "secret");
        handshake.execute_send_name(6).await.unwrap();
        let (stream, _) = handshake.execute_rest(true).await.unwrap();
        blocking(stream.into_inner())
    })
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn hello(versions: [u8; 4], role: u8, name: &str) -> Vec<u8> {
    let mut payload = vec![1];
    payload.extend_from_slice(b"PETS");
    payload.extend_from_slice(&versions);
    payload.push(role);
    payload.extend_from_slice(name.as_bytes());
    frame(&payload)
}

/// What the node sends before it closes the connection, without ticks.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }
}

#[test]
fn a_wrong_cookie_is_refused_on_both_sides() {
    let epmd = Epmd::start();
    let b = epmd.node("pets_b");
    let a = TestNode::start(Config { cookie: "wrong".into(), ..epmd.config("pets_a") });
    assert_eq!(a.call(b.name(), b"e"), Err(CallError::NotConnected));
    assert_eq!(b.call(a.name(), b"e"), Err(CallError::NotConnected));
    eventually("it is logged", || b.has_logged("cookie mismatch"));
    assert_eq!(b.node.stats().incoming_calls_links, 0);
}

#[test]
fn garbage_before_and_after_the_handshake_closes_the_connection() {
    let epmd = Epmd::start();
    let (a, b) = (epmd.node("pets_a"), epmd.node("pets_b"));
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0, 0],
        &[0, 1, 255],
        &[0xff; 200],
        &[0, 3, b'N', 0, 0],
    ] {
        let mut stream = connect(b.node.address());
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        until_closed(&mut stream);
    }
    for garbage in [
        frame(&[0]),
        frame(&[99, 1, 2, 3]),
        frame(&[7, 1]),
        frame(&[4, 0, 0]),
        frame(&[112]),
        frame(&[112, 131, 104, 255]),
        frame(&[112, 131, 108, 255, 255, 255, 255]),
        frame(&[112, 131, 104, 3, 97, 2, 106, 106, 131, 80, 0, 0, 0, 1]),
        frame(&[1, b'P']),
        frame(b"\x01NOTS\0\x01\0\x01\x01x@y"),
        hello([0, 1, 0, 1], 9, NAME),
        hello([0, 1, 0, 1], 1, "pets_other@127.0.0.1"),
        hello([0, 1, 0, 1], 1, "nonsense"),
        [hello([0, 1, 0, 1], 1, NAME), frame(&[7])].concat(),
        [hello([0, 1, 0, 1], 1, NAME), frame(&[4, 1])].concat(),
        [hello([0, 1, 0, 1], 2, NAME), frame(&[4])].concat(),
    ] {
        let mut stream = proved(&b);
        stream.write_all(&garbage).unwrap();
        until_closed(&mut stream);
    }
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()));
    eventually("nothing is left", || b.node.stats().other_links == 0);
}

#[test]
fn an_unknown_version_is_refused_with_a_reason() {
    let epmd = Epmd::start();
    let b = epmd.node("pets_b");
    let mut stream = proved(&b);
    stream.write_all(&hello([0, 7, 0, 9], 1, NAME)).unwrap();
    let answer = until_closed(&mut stream);
    assert_eq!(answer[4..6], [3, 1], "refused, for good");
    let reason = String::from_utf8_lossy(&answer[6..]);
    assert!(reason.contains("7 to 9 offered, 1 to 1 spoken here"), "{reason}");
    assert!(b.has_logged("pets_rogue@127.0.0.1 is refused"));
}

#[test]
fn an_outsized_frame_is_refused_by_its_length() {
    let epmd = Epmd::start();
    let b = TestNode::start(Config { max_frame: 1 << 20, ..epmd.config("pets_b") });
    let mut stream = proved(&b);
    stream.write_all(&hello([0, 1, 0, 1], 1, NAME)).unwrap();
    stream.write_all(&0xffff_ffff_u32.to_be_bytes()).unwrap();
    until_closed(&mut stream);
    eventually("it is logged", || b.has_logged("exceeds the limit of 1048576"));
}

#[test]
fn a_connection_that_falls_silent_is_closed() {
    let epmd = Epmd::start();
    let ticktime = Duration::from_millis(200);
    let b = TestNode::start(Config { net_ticktime: ticktime, ..epmd.config("pets_b") });
    let silent = [vec![], hello([0, 1, 0, 1], 1, NAME), hello([0, 1, 0, 1], 2, NAME)];
    for said in silent {
        let mut stream = proved(&b);
        stream.write_all(&said).unwrap();
        let start = Instant::now();
        until_closed(&mut stream);
        assert!(start.elapsed() >= ticktime, "{:?}", start.elapsed());
    }
    let before = Config { connect_timeout: Duration::from_millis(100), ..epmd.config("pets_c") };
    let c = TestNode::start(before);
    until_closed(&mut connect(c.node.address()));
    eventually("it is logged", || c.has_logged("not done in time"));
}

/// A node that shakes hands and then does what `serve` says.
fn fake_peer(epmd: &Epmd, serve: impl FnOnce(TcpStream) + Send + 'static) -> impl Drop {
    struct Fake {
        _registration: TcpStream,
    }
    impl Drop for Fake {
        fn drop(&mut self) {}
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let epmd_port = epmd.port;
    let registration = runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", epmd_port)).await.unwrap();
        let client = EpmdClient::new(stream.compat());
        let entry = NodeEntry::new_hidden("pets_rogue", port);
        let (stream, _) = client.register(entry).await.unwrap();
        blocking(stream.into_inner())
    });
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = runtime().block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let mut handshake = ServerSideHandshake::new(stream.compat(), local_node(), "secret");
            handshake.execute_recv_name().await.unwrap();
            let (stream, _) = handshake.execute_rest(HandshakeStatus::Ok).await.unwrap();
            blocking(stream.into_inner())
        });
        serve(stream);
    });
    Fake { _registration: registration }
}

#[test]
fn a_silent_peer_fails_calls_after_the_ticktime() {
    let epmd = Epmd::start();
    let config = Config { net_ticktime: Duration::from_millis(200), ..epmd.config("pets_a") };
    let a = TestNode::start(config);
    let _fake = fake_peer(&epmd, |mut stream| {
        stream.write_all(&frame(&[2, 0, 1])).unwrap();
        until_closed(&mut stream);
    });
    assert_eq!(a.call(&peer(NAME), b"e"), Err(CallError::NodeDown));
    assert!(a.has_logged("pets_rogue") || a.node.stats().outgoing_calls_links == 0);
}

#[test]
fn a_peer_that_refuses_fails_calls_with_its_reason() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let _fake = fake_peer(&epmd, |mut stream| {
        stream.write_all(&frame(b"\x03\x01too old")).unwrap();
        until_closed(&mut stream);
    });
    assert_eq!(a.call(&peer(NAME), b"e"), Err(CallError::Refused("too old".into())));
    assert!(a.has_logged("too old"));
}

#[test]
fn a_peer_that_takes_the_connection_and_says_nothing_is_given_up() {
    let epmd = Epmd::start();
    let config = Config { connect_timeout: Duration::from_millis(300), ..epmd.config("pets_a") };
    let a = TestNode::start(config);
    let _fake = fake_peer(&epmd, |mut stream| {
        until_closed(&mut stream);
    });
    assert_eq!(a.call(&peer(NAME), b"e"), Err(CallError::NotConnected));
}

#[test]
fn answers_that_nobody_asked_for_are_harmless() {
    let epmd = Epmd::start();
    let a = epmd.node("pets_a");
    let _fake = fake_peer(&epmd, |mut stream| {
        stream.write_all(&frame(&[2, 0, 1])).unwrap();
        for id in [0_u64, 1, u64::MAX, 1 << 46] {
            let mut reply = vec![5];
            reply.extend_from_slice(&id.to_be_bytes());
            stream.write_all(&frame(&reply)).unwrap();
        }
        stream.write_all(&frame(&[5, 0])).unwrap();
        until_closed(&mut stream);
    });
    // The link may break before or after the request is sent.
    let error = a.call(&peer(NAME), b"e").expect_err("no answer");
    assert!(matches!(error, CallError::NodeDown | CallError::NotConnected), "{error}");
    assert!(a.has_logged("a cut off reply"));
}

#[test]
fn a_peer_that_never_reads_is_not_served_for_ever() {
    let epmd = Epmd::start();
    let b = TestNode::start(Config { queue_limit_bytes: 1 << 20, ..epmd.config("pets_b") });
    let mut stream = proved(&b);
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(&hello([0, 1, 0, 1], 1, NAME)).unwrap();
    let mut request = vec![4, 0, 0, 0, 0, 0, 0, 0, 1];
    request.resize(64 << 10, b'e');
    let request = frame(&request);
    let mut written = 0_usize;
    while stream.write_all(&request).is_ok() {
        written += request.len();
        assert!(written < 256 << 20, "it stops reading requests when answers pile up");
    }
    let a = epmd.node("pets_a");
    assert_eq!(a.call(b.name(), b"e"), Ok(b"e".to_vec()), "others are served meanwhile");
}
