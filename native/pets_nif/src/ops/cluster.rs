//! Where slots are, who the members are, and the handing over of slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pets_cnode::PeerName;
use pets_core::placement::{NodeName, Slot};
use pets_core::table::{Schema, SlotState};
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::atoms;
use crate::caller::sending;
use crate::hosting;
use crate::ops::call::no_table_cause;
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry;
use crate::scratch::{encode_argument, with_buffer};
use crate::table::Table;

// What waits for the ownership machine, or goes through all slots, is not for a normal scheduler.
nifs! {
    key_slot/2 => key_slot;
    slot_owner/2 => slot_owner;
    slot_ranking/3 as dirty => slot_ranking;
    owned_slots/1 => owned_slots;
    slots_by_owner/1 as dirty => slots_by_owner;
    group_by_owner/2 as dirty => group_by_owner;
    member_up/4 as dirty => member_up;
    member_down/1 as dirty => member_down;
    member_gone/2 as dirty => member_gone;
    ownership_subscribe/2 => subscribe;
    ownership_unsubscribe/2 => unsubscribe;
    ownership_leave/2 as dirty => leave;
    ownership_status/1 as dirty => status;
}

/// The table in the first argument, or `badarg`.
fn with_table(env: Env, args: &[Term], work: impl FnOnce(&Arc<Table>) -> Option<Term>) -> Term {
    match registry::get(args[0]) {
        Some(table) => work(&table).unwrap_or_else(|| env.bad_argument()),
        None => env.bad_argument(),
    }
}

fn node_name(term: Term) -> Option<NodeName> {
    word::is_atom(term.0).then(|| texts::text(term.0).into())
}

fn node_atom(env: Env, node: Option<&NodeName>) -> Term {
    node.map_or(atoms::get().nil, |node| env.atom(node.as_str()))
}

fn slot(env: Env, term: Term) -> Option<Slot> {
    Slot::new(usize::try_from(env.integer_value(term)?).ok()?)
}

fn key_slot(env: Env, args: &[Term]) -> Answer {
    // Keys have slots even where there is no table.
    let schema = registry::get(args[0]).map_or(Schema::set(1), |table| table.schema());
    with_buffer(|words| match encode_argument(env, args[1], words) {
        Ok(()) => env.integer(schema.key(words).slot().index() as i64).into(),
        Err(answer) => answer,
    })
}

fn slot_owner(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let owner = table.hosted().owner(slot(env, args[1])?);
        Some(node_atom(env, owner.as_ref()))
    })
}

/// `name, slot, count`: the nodes that should own a slot, best first.
fn slot_ranking(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let count = usize::try_from(env.integer_value(args[2])?).ok()?;
        let nodes = table.hosted().ranking(slot(env, args[1])?, count);
        let nodes: Vec<_> = nodes.iter().map(|node| env.atom(node.as_str())).collect();
        Some(env.list(&nodes))
    })
}

/// Whether this node answers for a slot, be it on its way to another one.
fn is_held(table: &Table, slot: Slot) -> bool {
    table.core().state(slot) != SlotState::Foreign
}

fn owned_slots(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let owned: Vec<_> = Slot::all()
            .filter(|&slot| is_held(table, slot))
            .map(|slot| env.integer(slot.index() as i64))
            .collect();
        Some(env.list(&owned))
    })
}

/// `[{node | nil, slots}]` with all slots, or nil.
fn slots_by_owner(env: Env, args: &[Term]) -> Term {
    let Some(table) = registry::get(args[0]) else { return atoms::get().nil };
    let own = hosting().node_name();
    let mut slots: BTreeMap<Option<NodeName>, Vec<Term>> = BTreeMap::new();
    for slot in Slot::all() {
        let owner =
            if is_held(&table, slot) { Some(own.clone()) } else { table.hosted().owner(slot) };
        slots.entry(owner).or_default().push(env.integer(slot.index() as i64));
    }
    let pairs: Vec<_> = slots
        .into_iter()
        .map(|(owner, slots)| env.tuple(&[node_atom(env, owner.as_ref()), env.list(&slots)]))
        .collect();
    env.list(&pairs)
}

/// Words of objects that travel in one message: about 32 MB, half of what a frame takes.
const WORDS_PER_MESSAGE: usize = 4 << 20;

/// Objects of one owner, in as many parts as there have to be, each with its words.
#[derive(Default)]
struct Group {
    parts: Vec<(Vec<Term>, usize)>,
}

impl Group {
    fn push(&mut self, object: Term, words: usize, travels: bool) {
        match self.parts.last_mut() {
            Some((objects, sum)) if !travels || *sum + words <= WORDS_PER_MESSAGE => {
                objects.push(object);
                *sum += words;
            }
            _ => self.parts.push((vec![object], words)),
        }
    }
}

/// `name, objects`: `{:ok, [{node | nil, objects}]}` or `{:badarg, cause}`. The objects of a node
/// keep their order.
fn group_by_owner(env: Env, args: &[Term]) -> Answer {
    let atoms = atoms::get();
    let badarg = |cause| Answer::Term(env.tuple(&[atoms.badarg, cause]));
    let Some(table) = registry::get(args[0]) else {
        return badarg(no_table_cause(args[0]));
    };
    let own = hosting().node_name();
    let mut groups: BTreeMap<Option<NodeName>, Group> = BTreeMap::new();
    let mut rest = args[1];
    let mut words = Vec::new();
    while let Some((object, tail)) = env.list_cell(rest) {
        words.clear();
        if let Err(answer) = encode_argument(env, object, &mut words) {
            return answer;
        }
        let Ok(object_words) = table.schema().object(&words) else {
            return badarg(atoms.none);
        };
        let owner = table.hosted().owner(object_words.slot());
        let travels = owner.as_ref() != Some(&own);
        groups.entry(owner).or_default().push(object, words.len(), travels);
        rest = tail;
    }
    if rest.0 != word::NIL {
        return badarg(atoms.none);
    }
    let groups: Vec<_> = groups
        .iter()
        .flat_map(|(owner, group)| group.parts.iter().map(move |(objects, _)| (owner, objects)))
        .map(|(owner, objects)| env.tuple(&[node_atom(env, owner.as_ref()), env.list(objects)]))
        .collect();
    env.tuple(&[atoms.ok, env.list(&groups)]).into()
}

/// `name, node, cnode, weight`
fn member_up(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let node = node_name(args[1])?;
        let cnode = std::str::from_utf8(env.binary_bytes(args[2])?).ok()?;
        let cnode = PeerName::new(cnode).ok()?;
        let weight =
            u32::try_from(env.integer_value(args[3])?).ok().filter(|weight| *weight > 0)?;
        sending(env, || hosting().member_up(table.hosted(), node, &cnode, weight));
        Some(atoms::get().ok)
    })
}

/// `node`, with all its tables
fn member_down(env: Env, args: &[Term]) -> Term {
    let Some(node) = node_name(args[0]) else { return env.bad_argument() };
    sending(env, || hosting().member_down(&node));
    atoms::get().ok
}

/// `name, node`
fn member_gone(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let node = node_name(args[1])?;
        sending(env, || hosting().member_gone(table.hosted(), node));
        Some(atoms::get().ok)
    })
}

fn subscribe(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        hosting().sink().subscribe(table.hosted().name(), env.local_pid(args[1])?);
        Some(atoms::get().ok)
    })
}

fn unsubscribe(env: Env, args: &[Term]) -> Term {
    match (node_name(args[0]), env.local_pid(args[1])) {
        (Some(name), Some(pid)) => {
            hosting().sink().unsubscribe(name.as_str(), pid);
            atoms::get().ok
        }
        _ => env.bad_argument(),
    }
}

/// `name, deadline_ms`
fn leave(env: Env, args: &[Term]) -> Term {
    with_table(env, args, |table| {
        let patience = u64::try_from(env.integer_value(args[1])?).ok()?;
        sending(env, || hosting().leave(table.hosted(), Duration::from_millis(patience)));
        Some(atoms::get().ok)
    })
}

/// A map, or nil for a table that is not here.
fn status(env: Env, args: &[Term]) -> Term {
    let Some(table) = registry::get(args[0]) else { return atoms::get().nil };
    let hosted = table.hosted();
    let status = hosted.status();
    let figures = hosted.figures();
    let number = |n: u64| env.integer(n as i64);
    let members: Vec<_> =
        status.members.iter().map(|member| env.atom(member.node.as_str())).collect();
    let peers: Vec<_> = status
        .members
        .iter()
        .map(|member| {
            env.map(&[
                ("node", env.atom(member.node.as_str())),
                ("weight", number(member.weight.into())),
                ("slots", number(member.slots as u64)),
                ("ready?", atoms::boolean(member.ready)),
                ("leaving?", atoms::boolean(member.leaving)),
                ("linked?", atoms::boolean(member.linked)),
            ])
        })
        .collect();
    let transfers = env.map(&[
        ("sent_slots", number(figures.sent_slots)),
        ("sent_objects", number(figures.sent_objects)),
        ("sent_bytes", number(figures.sent_bytes)),
        ("received_slots", number(figures.received_slots)),
        ("received_objects", number(figures.received_objects)),
        ("longest_pause_us", number(figures.longest_pause_us)),
    ]);
    env.map(&[
        ("members", env.list(&members)),
        ("peers", env.list(&peers)),
        ("owned", number(status.owned as u64)),
        ("misplaced", number(status.misplaced as u64)),
        ("sending", number(status.sending as u64)),
        ("in_doubt", number(status.in_doubt as u64)),
        ("receiving", number(status.receiving as u64)),
        ("merging", number(status.merging as u64)),
        ("orphaned", number(status.orphaned as u64)),
        ("leaving?", atoms::boolean(status.leaving)),
        ("settled?", atoms::boolean(status.settled)),
        ("waiting", number(hosted.parked() as u64)),
        ("objects", number(table.core().len() as u64)),
        ("transfers", transfers),
    ])
}
