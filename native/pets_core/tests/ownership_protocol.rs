//! The ownership protocol by example: what one or two machines do, step by step.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pets_core::ownership::{
    Body, Config, Effect, Event, Lineage, Machine, Message, Notice, Role, TransferId,
};
use pets_core::placement::{Epoch, NodeName, SLOTS, Slot};

/// A machine and what it wants done.
struct Node {
    name: NodeName,
    machine: Machine,
    effects: VecDeque<Effect>,
    now: Duration,
}

impl Node {
    fn new(name: &str, role: Role, slots: usize, window: usize) -> Node {
        let started_at_ms = if role == Role::Founder { 1_000 } else { 2_000 };
        let mut config = Config::new(name.into(), 8, role, started_at_ms);
        config.slots = slots;
        config.limits.window = window;
        let mut effects = Vec::new();
        let machine = Machine::new(config, Duration::ZERO, &mut effects);
        Node { name: name.into(), machine, effects: effects.into(), now: Duration::ZERO }
    }

    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.machine.handle(self.now, event, &mut effects);
        self.effects.extend(effects);
    }

    fn tick(&mut self, after: Duration) {
        self.now += after;
        self.handle(Event::Tick);
    }

    /// Takes the effects that are waiting, without the routes.
    fn take(&mut self) -> Vec<Effect> {
        self.effects.drain(..).filter(|effect| !matches!(effect, Effect::Route { .. })).collect()
    }

    fn bodies(&mut self) -> Vec<Body> {
        self.take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Send { message, .. } => Some(message.body),
                _ => None,
            })
            .collect()
    }

    /// What this node would hear from a peer of its lineage.
    fn hear(&mut self, from: &str, body: Body) {
        let message =
            Message { started_at_ms: 2_000, lineage: self.machine.lineage().cloned(), body };
        self.handle(Event::Message { from: from.into(), message });
    }
}

/// Lets two nodes do everything that they want, copies taking no time; the most slots in flight
/// and all effects but the routes, in order, with who caused them.
fn run(a: &mut Node, b: &mut Node) -> (usize, Vec<(NodeName, Effect)>) {
    let mut log = Vec::new();
    let (mut open, mut most) = (0_usize, 0);
    loop {
        let (this, that) =
            if a.effects.is_empty() { (&mut *b, &mut *a) } else { (&mut *a, &mut *b) };
        let Some(effect) = this.effects.pop_front() else { return (most, log) };
        match &effect {
            Effect::Send { message: Message { body: Body::Offer { .. }, .. }, .. } => open += 1,
            Effect::Release { .. } => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
        match &effect {
            Effect::Send { to, message } if *to == that.name => {
                let from = this.name.clone();
                that.handle(Event::Message { from, message: message.clone() });
            }
            Effect::Copy { slot, transfer, .. } => {
                let (slot, transfer) = (*slot, *transfer);
                this.handle(Event::CopyCaughtUp { slot, transfer });
            }
            Effect::Freeze { slot, transfer, .. } | Effect::Merge { slot, transfer, .. } => {
                let (slot, transfer) = (*slot, *transfer);
                this.handle(Event::Flushed { slot, transfer });
            }
            _ => {}
        }
        if !matches!(effect, Effect::Route { .. }) {
            log.push((this.name.clone(), effect));
        }
    }
}

fn introduce(a: &mut Node, b: &mut Node) {
    a.handle(Event::MemberUp { node: b.name.clone(), weight: 8 });
    b.handle(Event::MemberUp { node: a.name.clone(), weight: 8 });
}

fn slot(index: usize) -> Slot {
    Slot::new(index).expect("in range")
}

#[test]
fn a_founder_owns_everything_at_once() {
    let mut node = Node::new("a", Role::Founder, SLOTS, 64);
    assert_eq!(node.effects.iter().filter(|e| matches!(e, Effect::Route { .. })).count(), SLOTS);
    assert_eq!(node.take(), [Effect::Found, Effect::Notify(Notice::Settled(true))]);
    assert_eq!(node.machine.owned_epoch(slot(0)), Some(Epoch::FIRST));
    let lineage = Lineage { founded_at_ms: 1_000, founder: "a".into() };
    assert_eq!(node.machine.lineage(), Some(&lineage));
}

#[test]
fn a_joiner_owns_nothing_until_it_is_granted() {
    let mut node = Node::new("a", Role::Joiner, SLOTS, 64);
    assert_eq!(node.take(), []);
    assert!(!node.machine.is_settled());
    assert_eq!(node.machine.owned_epoch(slot(0)), None);
}

#[test]
fn a_joiner_that_nobody_answers_founds_the_table_in_the_end() {
    let mut node = Node::new("a", Role::Joiner, 4, 64);
    node.tick(Duration::from_secs(9));
    assert_eq!(node.take(), []);
    node.tick(Duration::from_secs(2));
    let effects = node.take();
    assert_eq!(effects.iter().filter(|e| matches!(e, Effect::AdoptEmpty { .. })).count(), 4);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Notify(Notice::Lost(_)))));
    assert!(node.machine.is_settled());
}

#[test]
fn a_slot_moves_in_this_order() {
    let (mut a, mut b) =
        (Node::new("a", Role::Founder, 1, 64), Node::new("b", Role::Joiner, 1, 64));
    introduce(&mut a, &mut b);
    a.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    let (_, log) = run(&mut a, &mut b);
    let steps: Vec<String> = log
        .iter()
        .filter_map(|(node, effect)| {
            let what = match effect {
                Effect::Send { message, .. } => match &message.body {
                    Body::Offer { .. } => "offer",
                    Body::Accept { .. } => "accept",
                    Body::Grant { epoch, .. } => {
                        assert_eq!(*epoch, Epoch::new(2));
                        "grant"
                    }
                    Body::Granted { .. } => "granted",
                    Body::Confirm { .. } => "confirm",
                    _ => return None,
                },
                Effect::Stage { .. } => "Stage",
                Effect::Copy { .. } => "Copy",
                Effect::Freeze { .. } => "Freeze",
                Effect::Grant { .. } => "Grant",
                Effect::Adopt { .. } => "Adopt",
                Effect::Release { .. } => "Release",
                Effect::Notify(Notice::Acquired(_)) => "acquired",
                Effect::Notify(Notice::Released(_)) => "released",
                Effect::Left => "Left",
                _ => return None,
            };
            Some(format!("{node} {what}"))
        })
        .collect();
    // What each does is in order; the two of them interleave as they like.
    let of = |name: &str| -> Vec<String> {
        steps.iter().filter(|step| step.starts_with(name)).cloned().collect()
    };
    assert_eq!(
        of("a"),
        [
            "a offer",
            "a Copy",
            "a Freeze",
            "a Grant",
            "a grant",
            "a Release",
            "a released",
            "a confirm",
            "a Left"
        ]
    );
    assert_eq!(of("b"), ["b Stage", "b accept", "b Adopt", "b granted", "b acquired"]);
    assert!(b.machine.is_settled() || b.machine.status().members.len() == 2);
}

#[test]
fn a_joiner_gets_its_share_and_the_window_is_kept() {
    let (mut a, mut b) =
        (Node::new("a", Role::Founder, SLOTS, 16), Node::new("b", Role::Joiner, SLOTS, 16));
    introduce(&mut a, &mut b);
    let start = Instant::now();
    let (most, log) = run(&mut a, &mut b);
    let took = start.elapsed();
    assert_eq!(most, 16);
    let moved = log.iter().filter(|(_, effect)| matches!(effect, Effect::Release { .. })).count();
    assert!((1_900..2_200).contains(&moved), "{moved}");
    assert!(a.machine.is_settled() && b.machine.is_settled());
    println!("{moved} slots moved in {took:?}, the cost of the two machines alone");
}

#[test]
fn a_member_that_is_alone_may_leave_at_once() {
    let mut node = Node::new("a", Role::Founder, 4, 64);
    node.take();
    node.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    assert!(node.take().contains(&Effect::Left));
}

#[test]
fn a_leave_that_cannot_finish_says_so_at_its_deadline_once() {
    let mut node = Node::new("a", Role::Founder, 4, 64);
    node.handle(Event::MemberUp { node: "b".into(), weight: 8 });
    node.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    node.tick(Duration::from_secs(59));
    assert!(!node.take().iter().any(|effect| matches!(effect, Effect::LeaveTimedOut { .. })));
    node.tick(Duration::from_secs(2));
    assert!(node.take().contains(&Effect::LeaveTimedOut { remaining: 4 }));
    node.tick(Duration::from_secs(2));
    assert!(!node.take().iter().any(|effect| matches!(effect, Effect::LeaveTimedOut { .. })));
}

#[test]
fn a_crash_costs_the_slots_of_the_dead_and_no_others() {
    let (mut a, mut b) =
        (Node::new("a", Role::Founder, 64, 64), Node::new("b", Role::Joiner, 64, 64));
    introduce(&mut a, &mut b);
    run(&mut a, &mut b);
    a.tick(Duration::from_secs(1));
    a.take();
    let of_b = b.machine.status().owned;
    a.handle(Event::MemberDown { node: "b".into() });
    let effects = a.take();
    let lost = effects.iter().filter(|e| matches!(e, Effect::Notify(Notice::Lost(_)))).count();
    let empty = effects.iter().filter(|e| matches!(e, Effect::AdoptEmpty { .. })).count();
    assert_eq!((lost, empty), (of_b, of_b));
    assert!(a.machine.is_settled());
    assert_eq!(a.machine.status().owned, 64);
}

#[test]
fn the_younger_of_two_founders_merges_into_the_older() {
    let (mut a, mut b) =
        (Node::new("a", Role::Founder, 8, 64), Node::new("b", Role::Founder, 8, 64));
    // Of the same age: the smaller name stays.
    introduce(&mut a, &mut b);
    let (_, log) = run(&mut a, &mut b);
    let merged: Vec<_> =
        log.iter().filter(|(_, effect)| matches!(effect, Effect::Merge { .. })).collect();
    assert_eq!(merged.len(), 8);
    assert!(merged.iter().all(|(node, _)| node.as_str() == "b"));
    assert_eq!(a.machine.lineage(), b.machine.lineage());
    assert!(a.machine.is_settled() && b.machine.is_settled());
}

#[test]
fn a_refused_slot_is_offered_again_later() {
    let mut node = Node::new("a", Role::Founder, 1, 64);
    node.handle(Event::MemberUp { node: "b".into(), weight: 8 });
    let claims = node.bodies().into_iter().find_map(|body| match body {
        Body::Claims(claims) => Some(claims),
        _ => None,
    });
    let claims = pets_core::ownership::Claims {
        reply: false,
        owned: Vec::new(),
        ..claims.expect("said to every new member")
    };
    node.hear("b", Body::Claims(claims));
    node.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    let offer = |bodies: Vec<Body>| -> Option<TransferId> {
        bodies.into_iter().find_map(|body| match body {
            Body::Offer { transfer, .. } => Some(transfer),
            _ => None,
        })
    };
    let first = offer(node.bodies()).expect("b should have it");
    node.hear("b", Body::Refuse { slot: slot(0), transfer: first });
    assert_eq!(offer(node.bodies()), None);
    node.tick(Duration::from_millis(50));
    assert_eq!(offer(node.bodies()), None);
    node.tick(Duration::from_millis(51));
    let second = offer(node.bodies()).expect("the wait is over");
    assert_ne!(first, second);
    // A late answer to the first attempt begins nothing.
    node.hear("b", Body::Accept { slot: slot(0), transfer: first });
    assert!(!node.take().iter().any(|effect| matches!(effect, Effect::Copy { .. })));
    node.hear("b", Body::Accept { slot: slot(0), transfer: second });
    assert!(node.take().iter().any(|effect| matches!(effect, Effect::Copy { .. })));
}

#[test]
fn who_is_no_member_is_not_heard() {
    let mut node = Node::new("a", Role::Joiner, 4, 64);
    let lineage = Some(Lineage { founded_at_ms: 1, founder: "x".into() });
    let body = Body::Offer { slot: slot(0), transfer: TransferId::new(1), epoch: Epoch::FIRST };
    let message = Message { started_at_ms: 1, lineage, body };
    node.handle(Event::Message { from: "x".into(), message });
    assert_eq!(node.take(), []);
    assert_eq!(node.machine.lineage(), None);
}

#[test]
fn a_moved_answer_leads_to_a_question_not_to_a_belief() {
    let (mut a, mut b) =
        (Node::new("a", Role::Founder, 8, 64), Node::new("b", Role::Joiner, 8, 64));
    introduce(&mut a, &mut b);
    run(&mut a, &mut b);
    let theirs = (0..8).map(slot).find(|&slot| a.machine.owned_epoch(slot).is_some());
    let hint = |epoch| Event::RouteHint {
        slot: theirs.expect("a has some"),
        epoch: Epoch::new(epoch),
        owner: "a".into(),
    };
    b.handle(hint(9));
    assert!(matches!(b.bodies()[..], [Body::Enquire(_)]));
    b.handle(hint(9));
    assert_eq!(b.bodies(), []);
}
