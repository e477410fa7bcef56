use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use pets_core::ownership::{Effect, Event, Message, Role};
use pets_core::placement::{NodeName, Ranking, Slot};

use crate::node::{Batch, Data, Key, Node, State, Value};
use crate::rng::Rng;

/// How many slots the simulated tables have: enough for every situation to arise at once, and few
/// enough for thousands of runs in seconds.
pub(crate) const SLOTS: usize = 16;

/// What may happen in a run, and with it what may be expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) steps: usize,
    pub(crate) nodes: usize,
    /// Chances in ten thousand for each step.
    pub(crate) join: usize,
    pub(crate) leave: usize,
    pub(crate) crash: usize,
    pub(crate) breaks: usize,
    pub(crate) split: usize,
    /// Nodes start as founders now and then although others are there.
    pub(crate) founders: bool,
}

impl Rules {
    /// Whether two nodes may own one slot for a while. Then keys are only ever put, each once,
    /// and every one of them must be there in the end.
    fn conflicts(&self) -> bool {
        self.split > 0 || self.founders
    }
}

enum Packet {
    Message(Message),
    Data(Batch),
}

/// A link from one node to another: what was sent and has not arrived.
#[derive(Default)]
struct Link {
    packets: VecDeque<(u64, Packet)>,
    down: bool,
}

/// What the acknowledged writes amount to.
#[derive(Clone)]
enum Truth {
    Known(Data),
    /// The owner crashed: whatever the next owner has is right.
    Unknown,
}

/// A cluster with its network, its clients and the record of what they were told.
pub(crate) struct World {
    rules: Rules,
    rng: Rng,
    now: Duration,
    names: Vec<NodeName>,
    nodes: BTreeMap<NodeName, Node>,
    links: BTreeMap<(NodeName, NodeName), Link>,
    /// For each node what its surroundings have to tell it, in order for each subject.
    news: BTreeMap<(NodeName, NodeName), VecDeque<Event>>,
    /// Who has heard from whom, since the latter came up there.
    met: BTreeSet<(NodeName, NodeName)>,
    /// Pairs that hold each other for dead.
    split: BTreeSet<(NodeName, NodeName)>,
    incarnations: u64,
    truth: Vec<Truth>,
    next_value: u64,
    /// Acknowledged puts, where conflicts may happen.
    puts: BTreeSet<(Slot, Key)>,
    window: usize,
}

impl World {
    pub(crate) fn new(rules: Rules, seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let window = 1 + rng.below(8);
        let mut world = World {
            rules,
            now: Duration::ZERO,
            names: (0..rules.nodes).map(|n| NodeName::from(format!("n{n}"))).collect(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            news: BTreeMap::new(),
            met: BTreeSet::new(),
            split: BTreeSet::new(),
            incarnations: rng.next() % 3,
            truth: vec![Truth::Known(Data::new()); SLOTS],
            next_value: 0,
            puts: BTreeSet::new(),
            window,
            rng,
        };
        for _ in 0..1 + world.rng.below(3) {
            world.join();
        }
        world
    }

    /// Lets things happen, then stops the faults and waits until everything is in its place.
    pub(crate) fn run(mut self) {
        for _ in 0..self.rules.steps {
            self.step();
            self.check();
        }
        self.settle();
        self.check_end();
    }

    fn step(&mut self) {
        self.now += Duration::from_micros(self.rng.next() % 20_000);
        let rules = self.rules;
        let dice = self.rng.below(10_000);
        let mut bound = 0;
        let mut within = |chance: usize| {
            bound += chance;
            dice < bound
        };
        if within(rules.join) {
            self.join();
        } else if within(rules.leave) {
            self.leave();
        } else if within(rules.crash) {
            self.crash();
        } else if within(rules.breaks) {
            self.break_link();
        } else if within(rules.breaks) {
            self.mend_link();
        } else if within(rules.split) {
            self.split();
        } else if within(rules.split) {
            self.heal();
        } else {
            match self.rng.below(20) {
                0..=8 => self.deliver(),
                9..=11 => self.tell(),
                12..=14 => self.work(),
                15..=18 => self.client(),
                _ => self.tick(),
            }
        }
    }

    fn alive(&self) -> Vec<NodeName> {
        self.nodes.keys().cloned().collect()
    }

    fn staying(&self) -> Vec<NodeName> {
        self.nodes.iter().filter(|(_, node)| !node.leaving).map(|(name, _)| name.clone()).collect()
    }

    // Nodes come and go.

    fn join(&mut self) {
        let free: Vec<NodeName> =
            self.names.iter().filter(|name| !self.nodes.contains_key(*name)).cloned().collect();
        let Some(name) = self.rng.pick(&free).cloned() else { return };
        self.incarnations += 1;
        let others = self.alive();
        let founds = others.is_empty() || (self.rules.founders && self.rng.chance(50));
        let role = if founds { Role::Founder } else { Role::Joiner };
        if others.is_empty() {
            // Nobody is left who would know anything.
            self.truth = vec![Truth::Known(Data::new()); SLOTS];
        }
        let (node, effects) =
            Node::start(name.clone(), role, self.incarnations, self.window, self.now);
        self.nodes.insert(name.clone(), node);
        self.carry_out(&name, effects);
        for other in others {
            for (from, to) in [(&name, &other), (&other, &name)] {
                let link = self.links.entry((from.clone(), to.clone())).or_default();
                link.down = false;
            }
            self.introduce(&name, &other);
            self.introduce(&other, &name);
        }
    }

    /// Lets a node know, some time, that another one is there.
    fn introduce(&mut self, node: &NodeName, other: &NodeName) {
        let event = Event::MemberUp { node: other.clone(), weight: 1 };
        self.say(node, other, event);
    }

    fn say(&mut self, node: &NodeName, subject: &NodeName, event: Event) {
        self.news.entry((node.clone(), subject.clone())).or_default().push_back(event);
    }

    fn leave(&mut self) {
        let staying = self.staying();
        let Some(name) = self.rng.pick(&staying).cloned() else { return };
        // Somebody stays, and everybody who leaves knows of one who does.
        let stays: Vec<&NodeName> = staying.iter().filter(|other| **other != name).collect();
        let known = stays.iter().any(|other| {
            self.nodes.iter().all(|(leaver, node)| {
                let told = !self.news.contains_key(&(leaver.clone(), (*other).clone()));
                !(node.leaving || *leaver == name) || (told && node.knows.contains(*other))
            })
        });
        if known {
            let deadline = self.now + Duration::from_secs(1_000);
            self.nodes.get_mut(&name).expect("alive").leaving = true;
            self.handle(&name, Event::LeaveSelf { deadline });
        }
    }

    fn crash(&mut self) {
        let alive = self.alive();
        // Best when it has just granted something, or is about to take a grant.
        let granting: Vec<NodeName> = alive
            .iter()
            .filter(|name| self.nodes[*name].slots.iter().any(|slot| slot.state == State::Granted))
            .cloned()
            .collect();
        let among = if self.rng.chance(60) && !granting.is_empty() { granting } else { alive };
        let Some(name) = self.rng.pick(&among).cloned() else { return };
        if self.nodes.len() < 2 {
            return;
        }
        self.forget_slots_of(&name);
        self.remove(&name, false);
    }

    /// What only this node has is about to be lost.
    fn forget_slots_of(&mut self, name: &NodeName) {
        for slot in Slot::all().take(SLOTS) {
            let holds = self.nodes[name].slots[slot.index()].state != State::Foreign;
            let served =
                self.nodes.iter().any(|(other, node)| other != name && node.serves_reads(slot));
            if holds && !served {
                self.truth[slot.index()] = Truth::Unknown;
            }
        }
    }

    fn remove(&mut self, name: &NodeName, graceful: bool) {
        self.nodes.remove(name);
        self.news.retain(|(node, _), _| node != name);
        self.met.retain(|(node, _)| node != name);
        for other in self.alive() {
            if let Some(link) = self.links.get_mut(&(other.clone(), name.clone())) {
                link.packets.clear();
            }
            if !graceful && let Some(link) = self.links.get_mut(&(name.clone(), other.clone())) {
                // A part of what was sent arrives all the same.
                let kept = self.rng.below(link.packets.len() + 1);
                link.packets.truncate(kept);
            }
            let event = if graceful {
                Event::MemberGone { node: name.clone() }
            } else {
                Event::MemberDown { node: name.clone() }
            };
            self.say(&other, name, event);
        }
        self.split.retain(|(a, b)| a != name && b != name);
    }

    // The network.

    fn break_link(&mut self) {
        let pairs: Vec<(NodeName, NodeName)> = self.links.keys().cloned().collect();
        let Some((from, to)) = self.rng.pick(&pairs).cloned() else { return };
        if !self.nodes.contains_key(&from) || !self.nodes.contains_key(&to) {
            return;
        }
        let both = self.rng.chance(50);
        let mut broken = vec![(from.clone(), to.clone())];
        if both {
            broken.push((to.clone(), from.clone()));
        }
        for pair in broken {
            let link = self.links.entry(pair).or_default();
            link.packets.clear();
            link.down = true;
        }
        self.say(&from, &to, Event::LinkDown { node: to.clone() });
        self.say(&to, &from, Event::LinkDown { node: from.clone() });
        if self.rng.chance(50) {
            self.mend(&from, &to);
        }
    }

    fn mend_link(&mut self) {
        let down: Vec<(NodeName, NodeName)> =
            self.links.iter().filter(|(_, link)| link.down).map(|(pair, _)| pair.clone()).collect();
        if let Some((from, to)) = self.rng.pick(&down).cloned() {
            self.mend(&from, &to);
        }
    }

    fn mend(&mut self, from: &NodeName, to: &NodeName) {
        if !self.nodes.contains_key(from) || !self.nodes.contains_key(to) {
            return;
        }
        for (a, b) in [(from, to), (to, from)] {
            self.links.entry((a.clone(), b.clone())).or_default().down = false;
            self.say(a, b, Event::LinkUp { node: b.clone() });
        }
    }

    /// Cuts the cluster in two; each part holds the other for dead.
    fn split(&mut self) {
        if !self.split.is_empty() {
            return;
        }
        let alive = self.alive();
        let (left, right): (Vec<NodeName>, Vec<NodeName>) =
            alive.into_iter().partition(|_| self.rng.chance(50));
        for a in &left {
            for b in &right {
                for (node, other) in [(a, b), (b, a)] {
                    let link = self.links.entry((node.clone(), other.clone())).or_default();
                    link.packets.clear();
                    link.down = true;
                    self.say(node, other, Event::LinkDown { node: other.clone() });
                    self.say(node, other, Event::MemberDown { node: other.clone() });
                }
                self.split.insert((a.clone(), b.clone()));
            }
        }
    }

    fn heal(&mut self) {
        for (a, b) in std::mem::take(&mut self.split) {
            for (node, other) in [(&a, &b), (&b, &a)] {
                self.links.entry((node.clone(), other.clone())).or_default().down = false;
                self.introduce(node, other);
            }
        }
    }

    fn deliver(&mut self) {
        let waiting: Vec<(NodeName, NodeName)> = self
            .links
            .iter()
            .filter(|((_, to), link)| !link.packets.is_empty() && self.nodes.contains_key(to))
            .map(|(pair, _)| pair.clone())
            .collect();
        if let Some(pair) = self.rng.pick(&waiting).cloned() {
            self.deliver_on(&pair);
        }
    }

    fn deliver_on(&mut self, pair: &(NodeName, NodeName)) {
        // A shell reports the end of a connection before it hands over anything from the next, and
        // the end of a node before it hands over anything from its successor, unless the machine
        // can tell the two apart itself.
        let subject = (pair.1.clone(), pair.0.clone());
        let untold = |world: &World| {
            world.news.get(&subject).is_some_and(|news| {
                news.iter().any(|event| match event {
                    Event::LinkDown { .. } => true,
                    Event::MemberDown { .. } | Event::MemberGone { .. } => {
                        !world.met.contains(&subject)
                    }
                    _ => false,
                })
            })
        };
        while untold(self) {
            self.tell_on(&subject);
        }
        if !self.nodes.contains_key(&pair.1) {
            // What it was told let it leave.
            return;
        }
        let Some((_, packet)) = self.links.get_mut(pair).and_then(|l| l.packets.pop_front()) else {
            return;
        };
        let (from, to) = pair;
        if self.nodes[to].knows.contains(from) {
            self.met.insert(subject);
        }
        match packet {
            Packet::Message(message) => {
                let message = if self.rng.chance(2) { travelled(&message) } else { message };
                self.handle(to, Event::Message { from: from.clone(), message });
            }
            Packet::Data(batch) => {
                if traced() {
                    println!("{:?} {to}: data from {from}: {batch:?}", self.now);
                }
                self.nodes.get_mut(to).expect("alive").receive(from, batch);
            }
        }
    }

    /// Tells a node something about another one.
    fn tell(&mut self) {
        let waiting: Vec<(NodeName, NodeName)> = self.news.keys().cloned().collect();
        if let Some(pair) = self.rng.pick(&waiting).cloned() {
            self.tell_on(&pair);
        }
    }

    fn tell_on(&mut self, pair: &(NodeName, NodeName)) {
        let next = self.news.get(pair).and_then(|news| news.front());
        if matches!(next, Some(Event::MemberDown { .. })) {
            // That a node is there gets about sooner than that one has died.
            self.tell_arrivals(&pair.0);
        }
        let Some(news) = self.news.get_mut(pair) else { return };
        let event = news.pop_front();
        if news.is_empty() {
            self.news.remove(pair);
        }
        let Some(event) = event else { return };
        let (node, subject) = pair;
        let knows = &mut self.nodes.get_mut(node).expect("alive").knows;
        match &event {
            Event::MemberUp { .. } => {
                knows.insert(subject.clone());
            }
            Event::MemberDown { .. } | Event::MemberGone { .. } => {
                knows.remove(subject);
                self.met.remove(pair);
                // The connection to a node that is gone has gone with it, and what a new one
                // sent comes over another.
                let current = self.nodes.get(subject).map_or(u64::MAX, |node| node.incarnation);
                if let Some(link) = self.links.get_mut(&(subject.clone(), node.clone())) {
                    link.packets.retain(|(incarnation, _)| *incarnation == current);
                }
            }
            _ => {}
        }
        self.handle(node, event);
    }

    fn tell_arrivals(&mut self, node: &NodeName) {
        let arrivals: Vec<(NodeName, NodeName)> = self
            .news
            .iter()
            .filter(|((of, _), news)| {
                of == node && matches!(news.front(), Some(Event::MemberUp { .. }))
            })
            .map(|(pair, _)| pair.clone())
            .collect();
        for pair in arrivals {
            self.tell_on(&pair);
        }
    }

    // The shells.

    fn work(&mut self) {
        let alive = self.alive();
        let Some(name) = self.rng.pick(&alive).cloned() else { return };
        let objects = self.rng.below(4);
        let busy = self.nodes[&name].busy();
        if let Some(slot) = self.rng.pick(&busy).copied() {
            self.work_on(&name, slot, objects);
        }
    }

    fn work_on(&mut self, name: &NodeName, slot: Slot, objects: usize) {
        let node = self.nodes.get_mut(name).expect("alive");
        let Some(progress) = node.step(slot, objects) else { return };
        self.transmit(name, &progress.to, Packet::Data(progress.batch));
        if let Some(event) = progress.event {
            self.handle(name, event);
        }
    }

    fn tick(&mut self) {
        let alive = self.alive();
        if let Some(name) = self.rng.pick(&alive).cloned() {
            self.handle(&name, Event::Tick);
        }
    }

    fn handle(&mut self, name: &NodeName, event: Event) {
        let node = self.nodes.get_mut(name).expect("alive");
        let mut effects = Vec::new();
        if traced() {
            println!("{:?} {name}: {event:?}", self.now);
        }
        node.machine.handle(self.now, event, &mut effects);
        self.carry_out(name, effects);
    }

    fn carry_out(&mut self, name: &NodeName, effects: Vec<Effect>) {
        let mut left = false;
        for effect in effects {
            if traced() && !matches!(effect, Effect::Route { .. }) {
                println!("    {name} -> {effect:?}");
            }
            self.nodes.get_mut(name).expect("alive").apply(&effect);
            match effect {
                Effect::Send { to, message } => {
                    self.transmit(name, &to, Packet::Message(message));
                }
                Effect::Left => left = true,
                _ => {}
            }
        }
        if left {
            if self.rules.crash > 0 {
                // Those who were to stay may have crashed; what nobody is left to take is lost.
                self.forget_slots_of(name);
            }
            if !self.rules.conflicts() && self.rules.crash == 0 {
                let node = &self.nodes[name];
                assert!(node.slots.iter().all(|slot| slot.state == State::Foreign));
            }
            self.remove(name, true);
        }
    }

    fn transmit(&mut self, from: &NodeName, to: &NodeName, packet: Packet) {
        let incarnation = self.nodes.get(from).map_or(0, |node| node.incarnation);
        if !self.nodes.contains_key(to) {
            return;
        }
        let link = self.links.entry((from.clone(), to.clone())).or_default();
        if !link.down {
            link.packets.push_back((incarnation, packet));
        }
    }

    // The clients.

    /// A client somewhere does an operation, where its node's route leads it.
    fn client(&mut self) {
        let alive = self.alive();
        let Some(caller) = self.rng.pick(&alive).cloned() else { return };
        let slot = Slot::all().nth(self.rng.below(SLOTS)).expect("a slot");
        let Some(server) = self.nodes[&caller].routes[slot.index()].clone() else { return };
        if !self.nodes.contains_key(&server) || self.divides(&caller, &server) {
            return;
        }
        let node = &self.nodes[&server];
        if node.serves_reads(slot) && !self.rules.conflicts() {
            self.compare(&server, slot);
        }
        if self.nodes[&server].serves_writes(slot) {
            self.write(&server, slot);
        } else if let Some(owner) = self.nodes[&server].routes[slot.index()].clone()
            && owner != server
            && let Some(epoch) = self.nodes.get(&owner).and_then(|n| n.machine.owned_epoch(slot))
        {
            self.handle(&caller, Event::RouteHint { slot, epoch, owner });
        }
    }

    fn divides(&self, a: &NodeName, b: &NodeName) -> bool {
        self.split.contains(&(a.clone(), b.clone())) || self.split.contains(&(b.clone(), a.clone()))
    }

    fn compare(&mut self, server: &NodeName, slot: Slot) {
        let data = &self.nodes[server].slots[slot.index()].data;
        match &self.truth[slot.index()] {
            Truth::Known(truth) => {
                assert_eq!(data, truth, "{server} serves {slot:?} as it never was");
            }
            Truth::Unknown => self.truth[slot.index()] = Truth::Known(data.clone()),
        }
    }

    fn write(&mut self, server: &NodeName, slot: Slot) {
        self.next_value += 1;
        if traced() {
            println!("{:?} a client writes {slot:?} on {server}: {}", self.now, self.next_value);
        }
        let node = self.nodes.get_mut(server).expect("alive");
        if self.rules.conflicts() {
            let key = self.next_value as Key;
            node.write(slot, key, Some(self.next_value));
            self.puts.insert((slot, key));
            return;
        }
        let key = self.rng.below(8) as Key;
        let old: Option<Value> = node.slots[slot.index()].data.get(&key).copied();
        let new = match self.rng.below(4) {
            0 => None,
            1 => Some(self.next_value),
            _ => Some(old.unwrap_or(0) + 1),
        };
        node.write(slot, key, new);
        if let Truth::Known(truth) = &mut self.truth[slot.index()] {
            match new {
                Some(value) => truth.insert(key, value),
                None => truth.remove(&key),
            };
        }
    }

    // What must hold.

    fn check(&self) {
        if self.rules.conflicts() {
            return;
        }
        for slot in Slot::all().take(SLOTS) {
            let servers: Vec<&NodeName> = self
                .nodes
                .iter()
                .filter(|(_, node)| node.serves_reads(slot))
                .map(|(name, _)| name)
                .collect();
            assert!(servers.len() <= 1, "{slot:?} is served by {servers:?}");
        }
    }

    /// Ends the faults and lets time pass until nothing changes any more.
    fn settle(&mut self) {
        self.heal();
        let down: Vec<(NodeName, NodeName)> =
            self.links.iter().filter(|(_, link)| link.down).map(|(pair, _)| pair.clone()).collect();
        for (from, to) in down {
            self.mend(&from, &to);
        }
        for _ in 0..600 {
            self.drain();
            if self.is_settled() {
                return;
            }
            self.now += Duration::from_millis(100);
            for name in self.alive() {
                if self.nodes.contains_key(&name) {
                    self.handle(&name, Event::Tick);
                    self.check();
                }
            }
        }
        let states: Vec<_> =
            self.nodes.values().map(|node| format!("{:?}", node.machine.status())).collect();
        panic!("not settled after 60 s without faults:\n{}", states.join("\n"));
    }

    fn drain(&mut self) {
        for _ in 0..100_000 {
            let packets = self
                .links
                .iter()
                .any(|((_, to), link)| !link.packets.is_empty() && self.nodes.contains_key(to));
            let busy = self.nodes.values().any(|node| !node.busy().is_empty());
            match (packets, busy, self.news.is_empty()) {
                (false, false, true) => return,
                _ => match self.rng.below(4) {
                    0 | 1 => self.deliver(),
                    2 => self.tell(),
                    _ => self.work(),
                },
            }
            self.check();
        }
        panic!("the machines never stop talking");
    }

    fn is_settled(&self) -> bool {
        self.nodes.values().all(|node| !node.leaving && node.machine.is_settled())
    }

    fn check_end(&mut self) {
        if self.nodes.is_empty() {
            // The last ones left while the others crashed.
            return;
        }
        let members: Vec<(NodeName, u32)> = self
            .nodes
            .iter()
            .map(|(name, node)| (name.clone(), 1 + (node.incarnation % 3) as u32))
            .collect();
        let ranking = Ranking::default().recompute(&members, SLOTS);
        for slot in Slot::all().take(SLOTS) {
            let target = ranking.owner(slot).expect("somebody is there").clone();
            for (name, node) in &self.nodes {
                let table = &node.slots[slot.index()];
                assert_eq!(node.routes[slot.index()].as_ref(), Some(&target), "on {name}");
                assert!(table.staging.is_none());
                if *name == target {
                    assert_eq!(table.state, State::Owned, "{slot:?} on {name}");
                } else {
                    assert_eq!(table.state, State::Foreign, "{slot:?} on {name}");
                    assert!(table.data.is_empty(), "{slot:?} left on {name}");
                }
            }
            if self.rules.conflicts() {
                if self.rules.crash == 0 {
                    let data = &self.nodes[&target].slots[slot.index()].data;
                    for (_, key) in self.puts.iter().filter(|(at, _)| *at == slot) {
                        assert!(data.contains_key(key), "{key} of {slot:?} was lost");
                    }
                }
            } else {
                self.compare(&target, slot);
            }
        }
        let lineages: BTreeSet<_> =
            self.nodes.values().map(|node| node.machine.lineage().cloned()).collect();
        assert_eq!(lineages.len(), 1);
    }
}

/// The message as its receiver reads it.
fn travelled(message: &Message) -> Message {
    let wire = serde_json::to_vec(message).expect("messages are plain data");
    serde_json::from_slice(&wire).expect("as written")
}

fn traced() -> bool {
    static TRACED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("PETS_SIM_TRACE").is_some());
    *TRACED
}
