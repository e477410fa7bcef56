//! Operations on whole slots, of which those on a whole table consist.
//!
//! In their plain form they are for one node and for whatever it serves of the slots named: they
//! say which ones it does not. In their `One` form they are for a slot, wherever that is served,
//! as other operations are for a key.

use super::{BAD_ARGUMENT, Cause, OpError, list, push_list, two};
use crate::placement::{SLOTS, Slot};
use crate::table::{Cursor, Key, ScanEnd, Table, Unserved};
use crate::term::order;
use crate::term::word::{self, Kind};

/// Words of objects in one answer: about a quarter of a millisecond's work to make terms of.
const CHUNK_WORDS: usize = 16 << 10;

/// The slots of an operation on slots, in the order given.
pub(super) fn slots(args: &[u64]) -> Result<Vec<Slot>, OpError> {
    list(two(args)?.0)?.map(slot).collect()
}

/// The one slot that `first_from` begins at.
pub(super) fn slot(term: &[u64]) -> Result<Slot, OpError> {
    let [word] = *term else { return Err(BAD_ARGUMENT) };
    let index = usize::try_from(word::small_value(word)).ok().filter(|_| word::is_small(word));
    index.and_then(Slot::new).ok_or(BAD_ARGUMENT)
}

/// `{Objects, Visited, From, Unserved}`: the objects of the slots, the first one from the hash
/// `From` on, until there are enough for one answer; how many slots need not be asked for again;
/// where to go on in the next one; which slots are not served here.
pub(super) fn scan(
    table: &Table,
    args: &[u64],
    strict: bool,
    out: &mut Vec<u64>,
) -> Result<(), OpError> {
    let slots = slots(args)?;
    let mut from = hash(two(args)?.1)?;
    let start = out.len();
    let list_at = start + 1;
    out.extend([word::header(Kind::Tuple, 4), 0]);
    let (mut objects, mut visited, mut unserved) = (0, 0, Vec::new());
    let guard = crate::epoch::pin();
    let mut budget = CHUNK_WORDS;
    while let Some(&slot) = slots.get(visited)
        && budget > 0
    {
        let begin = out.len();
        let cursor = if from == 0 { Cursor::at(slot) } else { Cursor::from_bits(from) };
        if cursor.slot() != slot {
            out.truncate(start);
            return Err(BAD_ARGUMENT);
        }
        let end = table.scan_slot(cursor, budget, &guard, |record| {
            record.copy_to(out);
            objects += 1;
        });
        // Going to a slot takes time even if it is empty.
        budget = budget.saturating_sub(out.len() - begin + 1);
        match end {
            ScanEnd::Done => (visited, from) = (visited + 1, 0),
            ScanEnd::More(next) => {
                from = next.to_bits();
                break;
            }
            ScanEnd::Blocked(_, why) if strict => {
                // The whole operation goes where the slot is.
                out.truncate(start);
                return Err(Unserved { slot, why }.into());
            }
            // What was read of the slot counts; the rest of it is asked for from its owner.
            ScanEnd::Blocked(at, _) => {
                unserved.push((slot, if at.is_at_start_of_slot() { 0 } else { at.to_bits() }));
                (visited, from) = (visited + 1, 0);
            }
        }
    }
    out[list_at] = match objects {
        0 => word::NIL,
        objects => word::header(Kind::List, objects),
    };
    out.push(word::small(visited as i64));
    word::push_integer(out, from.into());
    push_slots_from(out, &unserved);
    Ok(())
}

/// `Unserved`: deletes the objects of the slots; which ones are not served here.
pub(super) fn delete(
    table: &Table,
    args: &[u64],
    strict: bool,
    out: &mut Vec<u64>,
) -> Result<(), OpError> {
    let unserved = table.clear_slots(&slots(args)?);
    push_unserved(out, &unserved, strict)
}

/// `{Objects, Bytes, Unserved}`: how many objects the slots have and how many bytes they take; in the
/// plain form together with what the table takes besides on this node.
pub(super) fn count(
    table: &Table,
    args: &[u64],
    strict: bool,
    out: &mut Vec<u64>,
) -> Result<(), OpError> {
    let guard = crate::epoch::pin();
    let (mut objects, mut bytes, mut unserved) = (0, 0, Vec::new());
    for slot in slots(args)? {
        match table.slot_size(slot, &guard) {
            Ok((more, more_bytes)) => (objects, bytes) = (objects + more, bytes + more_bytes),
            Err(error) => unserved.push(error),
        }
    }
    if !strict {
        bytes += table.overhead_bytes(&guard);
    }
    let start = out.len();
    out.push(word::header(Kind::Tuple, 3));
    word::push_integer(out, objects.into());
    word::push_integer(out, bytes.into());
    push_unserved(out, &unserved, strict).inspect_err(|_| out.truncate(start))
}

/// `{key, Key}`: the first key in a slot or the slots behind it; `{continue, Slot}` when that
/// slot is the first one that is not served here, or there is none.
pub(super) fn first_from(table: &Table, from: Slot, out: &mut Vec<u64>) -> Result<(), OpError> {
    let guard = crate::epoch::pin();
    let mut words = Vec::new();
    for index in from.index()..SLOTS {
        let Some(slot) = Slot::new(index) else { break };
        let end = table.scan_slot(Cursor::at(slot), 1, &guard, |record| {
            if words.is_empty() {
                record.copy_range_to(record.key(table.schema().keypos()), &mut words);
            }
        });
        if !words.is_empty() {
            push_key(out, &words);
            return Ok(());
        }
        match end {
            ScanEnd::Blocked(_, why) if slot == from => return Err(Unserved { slot, why }.into()),
            ScanEnd::Blocked(..) => {
                push_continue(out, index);
                return Ok(());
            }
            ScanEnd::Done | ScanEnd::More(_) => {}
        }
    }
    push_continue(out, SLOTS);
    Ok(())
}

/// `{key, Key}`: the key after one that must be there, in its slot; else `{continue, Slot}`.
pub(super) fn next_after(table: &Table, key: &Key<'_>, out: &mut Vec<u64>) -> Result<(), OpError> {
    let guard = crate::epoch::pin();
    if table.get(key, &guard)?.is_none() {
        return Err(OpError::BadArgument(Cause::None));
    }
    let slot = key.slot();
    let mut cursor = Cursor::from_bits(key.hash);
    let mut words = Vec::new();
    let mut found = false;
    loop {
        let end = table.scan_slot(cursor, 1, &guard, |record| {
            if found {
                return;
            }
            words.clear();
            record.copy_range_to(record.key(table.schema().keypos()), &mut words);
            // Keys with one hash are in the order of their words.
            let schema = table.schema();
            found = schema.key(&words).hash != key.hash
                || order::cmp_exact(&words, key.words).is_gt()
                    && !schema.is_same_key(&words, key.words);
        });
        if found {
            push_key(out, &words);
            return Ok(());
        }
        match end {
            ScanEnd::More(next) => cursor = next,
            ScanEnd::Blocked(_, why) => return Err(Unserved { slot, why }.into()),
            ScanEnd::Done => {
                push_continue(out, slot.index() + 1);
                return Ok(());
            }
        }
    }
}

/// The slots that an operation has to be repeated for, unless it was for one slot only: then it
/// is as a whole not served here.
fn push_unserved(out: &mut Vec<u64>, unserved: &[Unserved], strict: bool) -> Result<(), OpError> {
    if let (true, Some(&first)) = (strict, unserved.first()) {
        return Err(first.into());
    }
    let slots: Vec<_> = unserved.iter().map(|unserved| (unserved.slot, 0)).collect();
    push_slots_from(out, &slots);
    Ok(())
}

fn hash(term: &[u64]) -> Result<u64, OpError> {
    match (term, word::split_header(term[0])) {
        (&[word], None) if word::is_small(word) => {
            u64::try_from(word::small_value(word)).map_err(|_| BAD_ARGUMENT)
        }
        (&[_, hash], Some((Kind::BigPositive, 1))) => Ok(hash),
        _ => Err(BAD_ARGUMENT),
    }
}

/// A list of `{Slot, From}`.
fn push_slots_from(out: &mut Vec<u64>, slots: &[(Slot, u64)]) {
    push_list(out, slots.len());
    for &(slot, from) in slots {
        out.extend([word::header(Kind::Tuple, 2), word::small(slot.index() as i64)]);
        word::push_integer(out, from.into());
    }
}

fn push_key(out: &mut Vec<u64>, key: &[u64]) {
    out.extend([word::header(Kind::Tuple, 2), super::atom("key")]);
    out.extend_from_slice(key);
}

fn push_continue(out: &mut Vec<u64>, index: usize) {
    out.extend([word::header(Kind::Tuple, 2), super::atom("continue"), word::small(index as i64)]);
}
