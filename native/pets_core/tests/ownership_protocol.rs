//! The ownership protocol by example: what one or two machines do, step by step.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pets_core::ownership::{
    Body, Claims, Config, Effect, Event, Heard, Limits, Lineage, Machine, Message, Notice, Origin,
    Role, Run, SlotSet, TransferId,
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

/// What a member says of itself.
fn claims(owned: Vec<Run>, leaving: bool) -> Body {
    Body::Claims(Claims {
        reply: false,
        weight: 8,
        leaving,
        members: Vec::new(),
        owned,
        open: Vec::new(),
        next: TransferId::new(0),
    })
}

fn run_of(epoch: u64) -> Run {
    Run { first: slot(0), count: 1, epoch: Epoch::new(epoch) }
}

fn heard(epoch: u64, owner: Option<&str>, in_doubt: bool) -> Heard {
    let origin: Origin = serde_json::from_str("7").expect("a number");
    Heard { run: run_of(epoch), owner: owner.map(NodeName::from), origin, in_doubt }
}

/// Node `m` of a table with one slot, whose owner `x` has just died at epoch 4. The others, `a` and
/// `z`, are leaving: it is for `m` to claim the slot. Returns the round of its question to them.
fn bereaved() -> (Node, u64) {
    let mut node = Node::new("m", Role::Joiner, 1, 64);
    let lineage = Some(Lineage { founded_at_ms: 1, founder: "x".into() });
    for (peer, owned) in [("a", vec![]), ("x", vec![run_of(4)]), ("z", vec![])] {
        node.handle(Event::MemberUp { node: peer.into(), weight: 8 });
        let body = claims(owned, peer != "x");
        let message = Message { started_at_ms: 2_000, lineage: lineage.clone(), body };
        node.handle(Event::Message { from: peer.into(), message });
    }
    for peer in ["a", "x", "z"] {
        // Its lineage was news, and so were theirs: they say it all again.
        node.hear(peer, claims(if peer == "x" { vec![run_of(4)] } else { vec![] }, peer != "x"));
    }
    node.tick(Duration::from_secs(1));
    node.take();
    node.handle(Event::MemberDown { node: "x".into() });
    let round = surveys(&mut node).expect("it asks the others");
    (node, round)
}

/// The round of the question that a node has just asked.
fn surveys(node: &mut Node) -> Option<u64> {
    node.bodies().into_iter().find_map(|body| match body {
        Body::Survey { round, .. } => Some(round),
        _ => None,
    })
}

fn answer(node: &mut Node, from: &str, round: u64, heard: Vec<Heard>) {
    let members = ["a", "m", "z"].map(NodeName::from).to_vec();
    let contested = SlotSet::new();
    node.hear(from, Body::SurveyAnswer { round, members, contested, heard });
}

/// At which epoch the node has claimed its slot empty.
fn claimed(node: &mut Node) -> Option<Epoch> {
    let effects = node.take();
    let empty = effects.iter().any(|effect| matches!(effect, Effect::AdoptEmpty { .. }));
    assert_eq!(empty, effects.contains(&Effect::Notify(Notice::Lost(slot(0)))));
    node.machine.owned_epoch(slot(0)).filter(|_| empty)
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
    node.tick(Limits::default().patience - Duration::from_millis(100));
    assert_eq!(node.take(), []);
    node.tick(Duration::from_millis(200));
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
    node.bodies();
    node.hear("b", claims(Vec::new(), false));
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

#[test]
fn an_orphan_is_claimed_when_everybody_has_answered() {
    let (mut node, round) = bereaved();
    answer(&mut node, "a", round, vec![heard(4, None, false)]);
    assert_eq!(claimed(&mut node), None);
    answer(&mut node, "z", round, vec![heard(6, None, false)]);
    assert_eq!(claimed(&mut node), Some(Epoch::new(7)));
    assert_eq!(node.machine.status().orphaned, 0);
}

#[test]
fn who_has_not_noticed_the_death_has_not_answered() {
    let (mut node, round) = bereaved();
    answer(&mut node, "a", round, vec![]);
    let members = ["a", "m", "x", "z"].map(NodeName::from).to_vec();
    let body = Body::SurveyAnswer { round, members, contested: SlotSet::new(), heard: vec![] };
    node.hear("z", body);
    assert_eq!(claimed(&mut node), None);
    node.tick(Duration::from_millis(200));
    assert_eq!(surveys(&mut node), Some(round));
    answer(&mut node, "z", round, vec![]);
    assert_eq!(claimed(&mut node), Some(Epoch::new(5)));
}

#[test]
fn a_slot_that_somebody_has_is_not_claimed() {
    let (mut node, round) = bereaved();
    answer(&mut node, "a", round, vec![heard(4, None, false)]);
    answer(&mut node, "z", round, vec![heard(5, Some("z"), false)]);
    assert_eq!(claimed(&mut node), None);
    assert_eq!(node.machine.status().orphaned, 0);
}

#[test]
fn a_slot_in_doubt_is_left_to_its_holder() {
    let (mut node, round) = bereaved();
    answer(&mut node, "a", round, vec![heard(3, Some("a"), true)]);
    answer(&mut node, "z", round, vec![heard(4, None, false)]);
    assert_eq!(claimed(&mut node), None);
    assert_eq!(node.machine.status().orphaned, 1);
}

#[test]
fn an_owner_known_by_hearsay_is_asked_again_and_believed_when_it_denies() {
    let (mut node, round) = bereaved();
    // `z` answered before `a` handed the slot to it, or `a` is mistaken.
    answer(&mut node, "z", round, vec![]);
    answer(&mut node, "a", round, vec![heard(5, Some("z"), false)]);
    assert_eq!(claimed(&mut node), None);
    node.tick(Duration::from_millis(200));
    let round = surveys(&mut node).expect("a second time");
    answer(&mut node, "a", round, vec![heard(5, Some("z"), false)]);
    assert_eq!(claimed(&mut node), None);
    answer(&mut node, "z", round, vec![]);
    assert_eq!(claimed(&mut node), Some(Epoch::new(6)));
}

#[test]
fn of_two_that_would_claim_a_slot_the_smaller_name_goes_on() {
    let ask = |node: &mut Node, from: &str| -> SlotSet {
        let slots: SlotSet = [slot(0)].into_iter().collect();
        node.hear(from, Body::Survey { round: 9, slots, in_doubt: SlotSet::new() });
        let contested = node.bodies().into_iter().find_map(|body| match body {
            Body::SurveyAnswer { contested, .. } => Some(contested),
            _ => None,
        });
        contested.expect("an answer")
    };
    let (mut node, round) = bereaved();
    assert!(ask(&mut node, "z").contains(slot(0)));
    answer(&mut node, "a", round, vec![]);
    answer(&mut node, "z", round, vec![]);
    assert_eq!(claimed(&mut node), Some(Epoch::new(5)));

    let (mut node, round) = bereaved();
    assert!(ask(&mut node, "a").is_empty());
    answer(&mut node, "a", round, vec![]);
    answer(&mut node, "z", round, vec![]);
    assert_eq!(claimed(&mut node), None);
}

#[test]
fn a_slot_that_its_owner_does_not_claim_has_no_known_owner() {
    let (mut node, _) = bereaved();
    node.hear("z", Body::Owner(vec![run_of(9)]));
    assert_eq!(node.machine.status().orphaned, 0);
    node.hear("z", claims(vec![], true));
    assert_eq!(node.machine.status().orphaned, 1);
    let route = node.effects.iter().rev().find_map(|effect| match effect {
        Effect::Route { epoch, owner, .. } => Some((*epoch, owner.clone())),
        _ => None,
    });
    assert_eq!(route, Some((Epoch::new(9), None)));
}

#[test]
fn the_successor_of_a_member_is_not_taken_for_it() {
    let (mut node, _) = bereaved();
    let body = Body::Owner(vec![run_of(9)]);
    let lineage = node.machine.lineage().cloned();
    let message = Message { started_at_ms: 3_000, lineage, body };
    node.handle(Event::Message { from: "z".into(), message: message.clone() });
    assert_eq!(node.machine.status().orphaned, 1);
    node.handle(Event::MemberDown { node: "z".into() });
    node.handle(Event::MemberUp { node: "z".into(), weight: 8 });
    node.handle(Event::Message { from: "z".into(), message });
    assert_eq!(node.machine.status().orphaned, 0);
}

/// A node that has granted its only slot to `b` and has no answer yet.
fn in_doubt() -> (Node, TransferId) {
    let mut node = Node::new("a", Role::Founder, 1, 64);
    node.handle(Event::MemberUp { node: "b".into(), weight: 8 });
    node.hear("b", claims(Vec::new(), false));
    node.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    let transfer = node.bodies().into_iter().find_map(|body| match body {
        Body::Offer { transfer, .. } => Some(transfer),
        _ => None,
    });
    let (slot, transfer) = (slot(0), transfer.expect("b should have it"));
    node.hear("b", Body::Accept { slot, transfer });
    node.handle(Event::CopyCaughtUp { slot, transfer });
    node.handle(Event::Flushed { slot, transfer });
    node.take();
    (node, transfer)
}

#[test]
fn a_grant_without_an_answer_is_asked_about_and_nothing_is_served() {
    let (mut node, transfer) = in_doubt();
    let slot = slot(0);
    assert_eq!(node.machine.owned_epoch(slot), None);
    node.tick(Duration::from_millis(999));
    assert_eq!(node.bodies(), []);
    node.tick(Duration::from_millis(1));
    assert_eq!(node.bodies(), [Body::Ask { slot, transfer }]);
    node.hear("b", Body::NotMine { slot, transfer });
    assert_eq!(node.machine.owned_epoch(slot), Some(Epoch::new(3)));
    assert!(node.take().contains(&Effect::Resume { slot }));
}

#[test]
fn a_grant_in_doubt_outlives_a_broken_link_and_is_named_on_the_next() {
    let (mut node, transfer) = in_doubt();
    let slot = slot(0);
    node.handle(Event::LinkDown { node: "b".into() });
    assert_eq!(node.take(), []);
    node.handle(Event::LinkUp { node: "b".into() });
    let open = node.bodies().into_iter().find_map(|body| match body {
        Body::Claims(claims) => claims.open.first().copied(),
        _ => None,
    });
    let open = open.expect("named");
    assert_eq!((open.slot, open.transfer, open.granted), (slot, transfer, true));
    node.hear("b", Body::Granted { slot, transfer });
    let effects = node.take();
    assert!(effects.contains(&Effect::Release { slot }));
    assert!(effects.contains(&Effect::Left));
}

#[test]
fn a_late_grant_is_not_taken() {
    let mut node = Node::new("b", Role::Joiner, 1, 64);
    let lineage = Some(Lineage { founded_at_ms: 1, founder: "a".into() });
    let say = |node: &mut Node, body| {
        let message = Message { started_at_ms: 1, lineage: lineage.clone(), body };
        node.handle(Event::Message { from: "a".into(), message });
    };
    node.handle(Event::MemberUp { node: "a".into(), weight: 8 });
    say(&mut node, claims(vec![run_of(1)], true));
    let (slot, epoch) = (slot(0), Epoch::FIRST);
    let (old, new) = (TransferId::new(1), TransferId::new(2));
    say(&mut node, Body::Offer { slot, transfer: old, epoch });
    assert!(node.machine.stages(slot, &"a".into(), old));
    say(&mut node, Body::Offer { slot, transfer: new, epoch });
    assert!(!node.machine.stages(slot, &"a".into(), old));
    assert!(node.machine.stages(slot, &"a".into(), new));
    node.take();
    let origin: Origin = serde_json::from_str("7").expect("a number");
    say(&mut node, Body::Grant { slot, transfer: old, epoch: epoch.next(), origin });
    assert_eq!(node.bodies(), [Body::NotMine { slot, transfer: old }]);
    say(&mut node, Body::Ask { slot, transfer: new });
    assert_eq!(node.bodies(), [Body::NotMine { slot, transfer: new }]);
    // It has said so: what comes now is too late.
    say(&mut node, Body::Grant { slot, transfer: new, epoch: epoch.next(), origin });
    assert_eq!(node.bodies(), [Body::NotMine { slot, transfer: new }]);
    assert_eq!(node.machine.owned_epoch(slot), None);
}

#[test]
fn nothing_is_claimed_while_somebody_is_known_only_by_name() {
    let (mut node, round) = bereaved();
    let members = ["a", "m", "s", "z"].map(NodeName::from).to_vec();
    let body = Body::SurveyAnswer { round, members, contested: SlotSet::new(), heard: vec![] };
    node.hear("a", body);
    // The survey begins anew when the members change.
    node.handle(Event::MemberDown { node: "a".into() });
    node.tick(Limits::default().patience - Duration::from_millis(100));
    assert_eq!(surveys(&mut node), None);
    node.handle(Event::MemberUp { node: "s".into(), weight: 8 });
    node.hear("s", claims(vec![], true));
    assert!(surveys(&mut node).is_some());
}

#[test]
fn a_leaver_takes_nothing() {
    let (mut node, _) = bereaved();
    node.handle(Event::LeaveSelf { deadline: Duration::from_secs(60) });
    node.take();
    let (slot, transfer) = (slot(0), TransferId::new(1));
    node.hear("z", Body::Offer { slot, transfer, epoch: Epoch::new(5) });
    assert!(node.bodies().contains(&Body::Refuse { slot, transfer }));
}
