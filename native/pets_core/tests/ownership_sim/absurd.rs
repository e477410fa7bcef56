//! A node among peers that say anything at all, at any time.

use std::time::Duration;

use pets_core::ownership::{
    Body, Claims, Effect, Event, Heard, Lineage, Message, OpenTransfer, Origin, Role, Run, SlotSet,
    TransferId,
};
use pets_core::placement::{Epoch, NodeName, Slot};

use crate::node::Node;
use crate::rng::Rng;
use crate::world::SLOTS;

const PEERS: [&str; 3] = ["a", "m", "z"];

/// Feeds a node nonsense; its table asserts that the effects make sense all the same.
pub(crate) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let role = if rng.chance(50) { Role::Founder } else { Role::Joiner };
    let (mut node, effects) = Node::start("n".into(), role, 1, 4, Duration::ZERO);
    apply(&mut node, &effects);
    let mut now = Duration::ZERO;
    for _ in 0..400 {
        now += Duration::from_micros(rng.next() % 100_000);
        let peer = NodeName::from(PEERS[rng.below(PEERS.len())]);
        let event = match rng.below(40) {
            0 => Event::MemberUp { node: peer, weight: rng.next() as u32 },
            1 => Event::MemberDown { node: peer },
            2 => Event::MemberGone { node: peer },
            3 => Event::LinkDown { node: peer },
            4 | 5 => Event::LinkUp { node: peer },
            6 => Event::RouteHint { slot: slot(&mut rng), epoch: epoch(&mut rng), owner: peer },
            7 if rng.chance(5) => Event::LeaveSelf { deadline: now },
            7..=10 => Event::Tick,
            _ => Event::Message { from: peer, message: message(&mut rng) },
        };
        handle(&mut node, now, event);
        let busy = node.busy();
        if let Some(slot) = rng.pick(&busy).copied()
            && let Some(event) = node.step(slot, 2).and_then(|progress| progress.event)
        {
            handle(&mut node, now, event);
        }
    }
    let status = node.machine.status();
    assert!(status.owned + status.merging + status.receiving <= SLOTS);
}

fn handle(node: &mut Node, now: Duration, event: Event) {
    let mut effects = Vec::new();
    node.machine.handle(now, event, &mut effects);
    apply(node, &effects);
}

fn apply(node: &mut Node, effects: &[Effect]) {
    for effect in effects {
        node.apply(effect);
    }
}

fn slot(rng: &mut Rng) -> Slot {
    let index = if rng.chance(95) { rng.below(SLOTS) } else { rng.below(4096) };
    Slot::new(index).expect("in range")
}

fn epoch(rng: &mut Rng) -> Epoch {
    let numbers = [0, 1, 1, 2, 2, 3, 4, 5, Epoch::MAX.number() - 1, Epoch::MAX.number(), u64::MAX];
    Epoch::new(numbers[rng.below(numbers.len())])
}

/// Often one that the node itself has used.
fn transfer(rng: &mut Rng) -> TransferId {
    TransferId::new((1_001 << 20) + rng.next() % 40)
}

fn slots(rng: &mut Rng) -> SlotSet {
    (0..rng.below(20)).map(|_| slot(rng)).collect()
}

fn run_of(rng: &mut Rng) -> Run {
    let count = if rng.chance(90) { rng.below(8) as u16 } else { u16::MAX };
    Run { first: slot(rng), count, epoch: epoch(rng) }
}

fn runs(rng: &mut Rng) -> Vec<Run> {
    (0..rng.below(4)).map(|_| run_of(rng)).collect()
}

fn name(rng: &mut Rng) -> NodeName {
    NodeName::from(["a", "m", "z", "n", "stranger"][rng.below(5)])
}

fn origin(rng: &mut Rng) -> Origin {
    serde_json::from_value(rng.next().into()).expect("a number")
}

fn heard(rng: &mut Rng) -> Vec<Heard> {
    (0..rng.below(4))
        .map(|_| Heard {
            run: run_of(rng),
            owner: rng.chance(80).then(|| name(rng)),
            origin: origin(rng),
            in_doubt: rng.chance(20),
        })
        .collect()
}

fn message(rng: &mut Rng) -> Message {
    let lineage = match rng.below(40) {
        0 => None,
        1 => Some(Lineage { founded_at_ms: rng.next() % 2_000, founder: name(rng) }),
        2..=20 => Some(Lineage { founded_at_ms: 1_001, founder: "n".into() }),
        _ => Some(Lineage { founded_at_ms: 900, founder: "a".into() }),
    };
    let started_at_ms = if rng.chance(98) { 7 } else { rng.next() };
    Message { started_at_ms, lineage, body: body(rng) }
}

fn body(rng: &mut Rng) -> Body {
    let (slot, transfer, epoch) = (slot(rng), transfer(rng), epoch(rng));
    match rng.below(24) {
        0 => Body::Claims(Claims {
            reply: rng.chance(50),
            weight: rng.next() as u32,
            leaving: rng.chance(10),
            members: (0..rng.below(3)).map(|_| name(rng)).collect(),
            owned: runs(rng),
            open: (0..rng.below(4))
                .map(|_| OpenTransfer {
                    slot: self::slot(rng),
                    transfer: self::transfer(rng),
                    granted: rng.chance(50),
                })
                .collect(),
            next: transfer,
        }),
        1 if rng.chance(10) => Body::Leaving,
        1 | 2 => Body::Owner(runs(rng)),
        3 => Body::Enquire(slots(rng)),
        4 | 5 => Body::Offer { slot, transfer, epoch },
        6 | 7 => Body::Accept { slot, transfer },
        8 => Body::Refuse { slot, transfer },
        9 => Body::Cancel { slot, transfer },
        10 | 11 => Body::Grant { slot, transfer, epoch, origin: origin(rng) },
        12 => Body::Granted { slot, transfer },
        13 => Body::NotMine { slot, transfer },
        14 => Body::Ask { slot, transfer },
        15 => Body::Confirm { transfer },
        16 => Body::Survey { round: rng.next() % 4, slots: slots(rng), in_doubt: slots(rng) },
        17 | 18 => Body::SurveyAnswer {
            round: rng.next() % 4,
            members: (0..rng.below(3)).map(|_| name(rng)).collect(),
            contested: slots(rng),
            heard: heard(rng),
        },
        19 => Body::Orphans(runs(rng)),
        20 => Body::Known(heard(rng)),
        21 => Body::MergeOffer { slot, transfer },
        22 => match rng.below(2) {
            0 => Body::MergeAccept { slot, transfer },
            _ => Body::MergeRefuse { slot, transfer },
        },
        _ => match rng.below(2) {
            0 => Body::Merged { slot, transfer },
            _ => Body::MergeTaken { slot, transfer },
        },
    }
}
