//! An EPMD, nodes, and a handler that does what the first byte of a request says.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pets_cnode::{
    Address, BulkLink, CallError, CallId, Config, ErlangReplier, Handler, Level, Node, PeerName,
    Replier,
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An EPMD that ends with the test.
pub(crate) struct Epmd {
    pub(crate) port: u16,
    child: Child,
}

impl Epmd {
    pub(crate) fn start() -> Self {
        loop {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let epmd = Self::start_at(port);
            // Another test may have been faster to listen on the port that was free.
            if epmd.answers() {
                return epmd;
            }
        }
    }

    fn answers(&self) -> bool {
        let mut names = self.names_command();
        names.stdout(Stdio::null()).stderr(Stdio::null());
        names.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn start_at(port: u16) -> Self {
        let child = Command::new("epmd")
            .args(["-port", &port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd on the PATH");
        eventually("epmd", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Self { port, child }
    }

    pub(crate) fn config(&self, alive: &str) -> Config {
        Config {
            epmd_port: self.port,
            listen: Ipv4Addr::LOCALHOST.into(),
            ..Config::new(format!("{alive}@127.0.0.1"), "secret")
        }
    }

    pub(crate) fn node(&self, alive: &str) -> TestNode {
        TestNode::start(self.config(alive))
    }

    /// The names that are registered now.
    pub(crate) fn names(&self) -> String {
        let output = self.names_command().output().expect("epmd on the PATH");
        String::from_utf8(output.stdout).unwrap()
    }

    fn names_command(&self) -> Command {
        let mut command = Command::new("epmd");
        command.args(["-port", &self.port.to_string(), "-names"]);
        command
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node's handler has seen, other than requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    BulkUp(PeerName, BulkLink),
    BulkDown(PeerName, BulkLink),
    Cast(PeerName, BulkLink, Vec<u8>),
}

/// Does what requests say by their first byte; see [`Handler::request`] below.
pub(crate) struct Script {
    pub(crate) executed: AtomicU64,
    pub(crate) held: Mutex<Vec<Replier>>,
    pub(crate) logs: Mutex<Vec<String>>,
    /// Casts wait while this is set.
    pub(crate) slow: AtomicBool,
    events: Sender<Event>,
}

/// Who waits for an answer.
pub(crate) struct Waiter {
    pub(crate) tag: u64,
    pub(crate) to: Sender<(u64, Outcome)>,
}

pub(crate) type Outcome = Result<Vec<u8>, CallError>;

impl Handler for Script {
    type Token = Waiter;

    fn request(&self, _peer: &PeerName, body: &[u8], reply: Replier) {
        self.executed.fetch_add(1, Ordering::SeqCst);
        match body[0] {
            b'e' => reply.reply(|out| out.extend_from_slice(body)),
            b'h' => self.held.lock().unwrap().push(reply),
            b'd' => drop(reply),
            b'l' => reply.reply(|out| out.resize(out.len() + (128 << 20), 7)),
            b'p' => panic!("as the request says"),
            other => panic!("an unknown request {other}"),
        }
    }

    fn replied(&self, token: Waiter, outcome: Result<&[u8], CallError>) {
        let _ = token.to.send((token.tag, outcome.map(<[u8]>::to_vec)));
    }

    async fn cast(&self, peer: &PeerName, link: BulkLink, body: Vec<u8>) {
        while self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = self.events.send(Event::Cast(peer.clone(), link, body));
    }

    fn bulk_up(&self, peer: &PeerName, link: BulkLink) {
        let _ = self.events.send(Event::BulkUp(peer.clone(), link));
    }

    fn bulk_down(&self, peer: &PeerName, link: BulkLink) {
        let _ = self.events.send(Event::BulkDown(peer.clone(), link));
    }

    fn has_process(&self, name: &str) -> bool {
        name == "echo"
    }

    /// Sends a message `{Pid, Anything}` back to its `Pid`.
    fn erlang_message(&self, to: Address<'_>, message: &[u8], reply: ErlangReplier) {
        match (to, message) {
            (Address::Name("echo"), [104, 2, 88, 119, length, ..]) => {
                let pid_end = 5 + usize::from(*length) + 12;
                reply.send(&message[2..pid_end], message).unwrap();
            }
            _ => self.logs.lock().unwrap().push(format!("message to {to:?}: {message:?}")),
        }
    }

    fn log(&self, _level: Level, message: &str) {
        self.logs.lock().unwrap().push(message.to_owned());
    }
}

/// A node with its script.
pub(crate) struct TestNode {
    pub(crate) node: Node<Script>,
    pub(crate) script: Arc<Script>,
    pub(crate) events: Mutex<Receiver<Event>>,
}

impl TestNode {
    pub(crate) fn start(config: Config) -> Self {
        let (sender, events) = channel();
        let script = Arc::new(Script {
            executed: AtomicU64::new(0),
            held: Mutex::new(Vec::new()),
            logs: Mutex::new(Vec::new()),
            slow: AtomicBool::new(false),
            events: sender,
        });
        let node = Node::start(config, Arc::clone(&script)).expect("the node starts");
        Self { node, script, events: Mutex::new(events) }
    }

    pub(crate) fn name(&self) -> &PeerName {
        self.node.name()
    }

    pub(crate) fn try_call(&self, peer: &PeerName, body: &[u8]) -> Result<Pending, CallError> {
        let (to, receiver) = channel();
        match self.node.call(peer, Waiter { tag: 0, to }, body) {
            Ok(id) => Ok(Pending { id, receiver }),
            Err((_, error)) => Err(error),
        }
    }

    /// A call that is accepted.
    pub(crate) fn start_call(&self, peer: &PeerName, body: &[u8]) -> Pending {
        self.try_call(peer, body).expect("the call is accepted")
    }

    pub(crate) fn call(&self, peer: &PeerName, body: &[u8]) -> Outcome {
        self.start_call(peer, body).outcome()
    }

    pub(crate) fn event(&self) -> Event {
        self.events.lock().unwrap().recv_timeout(PATIENCE).expect("an event")
    }

    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.script.logs.lock().unwrap().iter().any(|line| line.contains(text))
    }

    /// Waits until requests that say `h` are held.
    pub(crate) fn wait_for_held(&self, count: usize) {
        eventually("requests are held", || self.script.held.lock().unwrap().len() == count);
    }
}

/// A call in flight.
pub(crate) struct Pending {
    pub(crate) id: CallId,
    pub(crate) receiver: Receiver<(u64, Outcome)>,
}

impl Pending {
    pub(crate) fn outcome(self) -> Outcome {
        self.receiver.recv_timeout(PATIENCE).expect("an outcome").1
    }
}

pub(crate) fn peer(name: &str) -> PeerName {
    PeerName::new(name).unwrap()
}

/// A raw connection to a node, for what a well-behaved peer would not send.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
