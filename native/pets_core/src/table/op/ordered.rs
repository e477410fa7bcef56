//! Slots of an ordered table, in the order of their keys.
//!
//! Like the operations on whole slots: in its plain form for one node and for whatever it serves of
//! the slots named, in its other form for a slot, wherever that is served.

use super::{BAD_ARGUMENT, Cause, OpError, boolean, list, push_list};
use crate::placement::Slot;
use crate::table::{Direction, Table, Unserved, Why};
use crate::term::walk::{self, Elements};
use crate::term::word::{self, Kind};

/// Words of objects in one answer: about a quarter of a millisecond's work to make terms of.
const CHUNK_WORDS: usize = 16 << 10;

struct Arguments<'a> {
    slots: Vec<Slot>,
    after: Option<&'a [u64]>,
    limit: usize,
    direction: Direction,
}

/// The slots of the operation, in the order given.
pub(super) fn slots(args: &[u64]) -> Result<Vec<Slot>, OpError> {
    Ok(arguments(args)?.slots)
}

fn arguments(args: &[u64]) -> Result<Arguments<'_>, OpError> {
    if walk::arity(args) != Some(4) {
        return Err(BAD_ARGUMENT);
    }
    let mut elements = Elements::of(args);
    let mut next = || elements.next().ok_or(BAD_ARGUMENT);
    let slots = list(next()?)?.map(super::slots::slot).collect::<Result<_, _>>()?;
    let after = list(next()?)?.next();
    let limit = match *next()? {
        [limit] if word::is_small(limit) => usize::try_from(word::small_value(limit)).ok(),
        _ => None,
    };
    let ascending = match *next()? {
        [word] if word == boolean(true) => true,
        [word] if word == boolean(false) => false,
        _ => return Err(BAD_ARGUMENT),
    };
    let direction = if ascending { Direction::Ascending } else { Direction::Descending };
    let limit = limit.filter(|&limit| limit > 0).ok_or(BAD_ARGUMENT)?;
    Ok(Arguments { slots, after, limit, direction })
}

/// `{Objects, After, Unserved}`.
pub(super) fn scan(
    table: &Table,
    args: &[u64],
    strict: bool,
    out: &mut Vec<u64>,
) -> Result<(), OpError> {
    let Arguments { slots, after, limit, direction } = arguments(args)?;
    if !table.schema().compares_keys() {
        return Err(OpError::BadArgument(Cause::TableType));
    }
    let guard = crate::epoch::pin();
    let chunk = table.scan_ordered(direction, after, &slots, limit, CHUNK_WORDS, &guard);
    if let (true, Some(&slot)) = (strict, chunk.unserved.first()) {
        // Where it is now; one that has only changed its state is found by trying again.
        let why = match table.state(slot) {
            state if state.serves_reads() => return scan(table, args, strict, out),
            crate::table::SlotState::Foreign => Why::Elsewhere,
            _ => Why::Wait,
        };
        return Err(Unserved { slot, why }.into());
    }
    out.push(word::header(Kind::Tuple, 3));
    push_list(out, chunk.records.len());
    chunk.records.iter().for_each(|record| record.copy_to(out));
    push_list(out, chunk.position.iter().len());
    out.extend(chunk.position.iter().flatten());
    push_list(out, chunk.unserved.len());
    out.extend(chunk.unserved.iter().map(|slot| word::small(slot.index() as i64)));
    Ok(())
}
