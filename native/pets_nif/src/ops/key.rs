//! Operations on one key where its slot is served by this node: decode, one core call, encode.
//!
//! Whatever is out of the ordinary (no such table, a slot elsewhere, wrong arguments) is answered
//! with `$pets_slow`, and nothing has been done then: Elixir goes on with `call_start`.

use pets_core::epoch::{self, Guard};
use pets_core::table::op::{OpCode, OpError, execute};
use pets_core::table::{Counted, Entry, Key, Object, Record};
use pets_core::term::word::{self, Kind};

use crate::Table;
use crate::atoms;
use crate::decode::{Known, decode, decode_object, decode_objects};
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry;
use crate::scratch::{WORDS_PER_CALL, encode_argument, with_buffer};
use crate::stored::Stored;

nifs! {
    table_lookup/2 => lookup;
    table_lookup_many/2 => lookup_many;
    table_lookup_element/3 => lookup_element;
    table_lookup_element/4 => lookup_element;
    table_member/2 => member;
    table_insert/2 => insert;
    table_insert_new/2 => insert_new;
    table_delete/2 => delete;
    table_delete_object/2 => delete_object;
    table_take/2 => take;
    table_update_counter/3 => update_counter;
    table_update_counter/4 => update_counter;
    table_update_element/3 => update_element;
    table_update_element/4 => update_element;
}

#[inline]
pub(super) fn slow() -> Answer {
    atoms::get().slow.into()
}

/// The table that the first argument names, if it may be used from here without further ado.
#[inline]
pub(super) fn find(name: Term, guard: &Guard) -> Option<&Table> {
    registry::find(name, guard).filter(|table| !table.placed_by_callback())
}

/// Runs `work` with an encoded key.
#[inline]
pub(super) fn with_key(
    env: Env,
    table: &Table,
    key: Term,
    work: impl FnOnce(Key<'_>) -> Answer,
) -> Answer {
    if key.is_immediate() {
        return work(table.schema().key(&[key.0]));
    }
    with_buffer(|words| match encode_argument(env, key, words) {
        Ok(()) => work(table.schema().key(words)),
        Err(answer) => answer,
    })
}

/// Whether something of this many words has to be left to a dirty scheduler.
#[inline]
fn too_large_here(words: usize) -> bool {
    words > WORDS_PER_CALL && !Env::on_dirty_scheduler()
}

fn lookup(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    lookup_one(env, table, args[1], &guard)
}

#[inline]
fn lookup_one(env: Env, table: &Table, term: Term, guard: &Guard) -> Answer {
    with_key(env, table, term, |key| match table.core().get(&key, guard) {
        Ok(Some(entry)) if entry.has_several() => objects(env, table, entry, &key, term),
        Ok(Some(entry)) if too_large_here(entry.first().len()) => Answer::Dirty,
        Ok(Some(entry)) => {
            let record = entry.first();
            let known = known_key(table, record, &key, term);
            decode_object(env, record, &known).into()
        }
        Ok(None) => Term(word::NIL).into(),
        Err(_) => slow(),
    })
}

/// Keys that a normal scheduler looks up in one call: a fraction of a millisecond, unless their
/// objects are large.
const KEYS_PER_CALL: usize = 1_000;

/// `name, keys`: what `lookup` answers for each key.
fn lookup_many(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    let mut found = Vec::new();
    let mut rest = args[1];
    while let Some((key, tail)) = env.list_cell(rest) {
        if found.len() == KEYS_PER_CALL && !Env::on_dirty_scheduler() {
            return Answer::Dirty;
        }
        match lookup_one(env, table, key, &guard) {
            Answer::Term(objects) if objects != atoms::get().slow => found.push(objects),
            other => return other,
        }
        rest = tail;
    }
    if rest.0 == word::NIL { env.list(&found).into() } else { slow() }
}

fn total_words<'g>(records: impl Iterator<Item = Record<'g>>) -> usize {
    records.map(Record::len).sum()
}

/// The objects of a key of a bag.
#[cold]
fn objects(env: Env, table: &Table, entry: Entry<'_>, key: &Key<'_>, term: Term) -> Answer {
    let records = entry.records();
    if too_large_here(total_words(records.clone())) {
        return Answer::Dirty;
    }
    decode_objects(env, records, |record| known_key(table, record, key, term)).into()
}

/// The key within a record, which the caller has as a term.
#[inline]
fn known_key(table: &Table, record: Record<'_>, key: &Key<'_>, term: Term) -> Known {
    // A key that only compares equal is another term; an immediate is as quick to copy.
    if table.schema().compares_keys() || term.is_immediate() {
        return Known::NOTHING;
    }
    let at = record.key_offset(table.schema().keypos());
    Known { at, len: key.words.len(), term }
}

fn lookup_element(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    if !word::is_small(args[2].0) {
        return slow();
    }
    let position = word::small_value(args[2].0);
    with_key(env, table, args[1], |key| match (table.core().get(&key, &guard), args.get(3)) {
        // Of a bag, a list.
        (Ok(Some(_)), _) if table.schema().is_bag() => {
            generic(env, OpCode::LookupElement, args[0], &args[1..])
        }
        (Ok(Some(entry)), _) => {
            let record = entry.first();
            match usize::try_from(position).ok().and_then(|position| record.element(position)) {
                Some(range) if too_large_here(range.len()) => Answer::Dirty,
                Some(range) => decode(env, &Stored::new(record), range.start, None).into(),
                None => slow(),
            }
        }
        (Ok(None), Some(default)) if position > 0 => (*default).into(),
        _ => slow(),
    })
}

fn member(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    with_key(env, table, args[1], |key| match table.core().contains(&key, &guard) {
        Ok(found) => atoms::boolean(found).into(),
        Err(_) => slow(),
    })
}

fn insert(env: Env, args: &[Term]) -> Answer {
    if args[1].is_list_cell() {
        return generic(env, OpCode::InsertMany, args[0], &args[1..]);
    }
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    with_object(env, table, args[1], |object| match table.core().insert(object) {
        Ok(()) => {
            charge(env, table, &object.key(), &guard);
            atoms::get().t_true.into()
        }
        Err(_) => slow(),
    })
}

fn insert_new(env: Env, args: &[Term]) -> Answer {
    if args[1].is_list_cell() {
        return generic(env, OpCode::InsertNewMany, args[0], &args[1..]);
    }
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    with_object(env, table, args[1], |object| match table.core().insert_new(object) {
        Ok(inserted) => atoms::boolean(inserted).into(),
        Err(_) => slow(),
    })
}

fn delete_object(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    with_object(env, table, args[1], |object| match table.core().remove_object(object) {
        Ok(_) => {
            charge(env, table, &object.key(), &guard);
            atoms::get().t_true.into()
        }
        Err(_) => slow(),
    })
}

/// Objects of a key of a bag that are compared in a hundredth of a scheduler's time slice.
const OBJECTS_PER_PERCENT: usize = 200;

/// What was done with a key of a bag takes as long as it has many objects: the caller pays for it.
#[inline]
fn charge(env: Env, table: &Table, key: &Key<'_>, guard: &Guard) {
    if table.schema().is_bag() {
        let found = table.core().get(key, guard).ok().flatten();
        let objects = found.map_or(0, |entry| entry.records().len());
        env.consume_timeslice(objects / OBJECTS_PER_PERCENT);
    }
}

#[inline]
fn with_object(
    env: Env,
    table: &Table,
    object: Term,
    work: impl FnOnce(&Object<'_>) -> Answer,
) -> Answer {
    with_buffer(|words| {
        if let Err(answer) = encode_argument(env, object, words) {
            return answer;
        }
        match table.schema().object(words) {
            Ok(object) => work(&object),
            Err(_) => slow(),
        }
    })
}

fn delete(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    with_key(env, table, args[1], |key| match table.core().remove(&key) {
        Ok(_) => atoms::get().t_true.into(),
        Err(_) => slow(),
    })
}

fn take(env: Env, args: &[Term]) -> Answer {
    // An object too large for this scheduler is left where it is until a dirty one takes it.
    if !Env::on_dirty_scheduler() {
        let guard = epoch::pin();
        let Some(table) = find(args[0], &guard) else { return slow() };
        let large = with_key(env, table, args[1], |key| match table.core().get(&key, &guard) {
            Ok(Some(entry)) if total_words(entry.records()) > WORDS_PER_CALL => Answer::Dirty,
            Ok(_) => atoms::get().ok.into(),
            Err(_) => slow(),
        });
        match large {
            Answer::Term(term) if term == atoms::get().ok => {}
            other => return other,
        }
    }
    generic(env, OpCode::Take, args[0], &args[1..])
}

fn update_counter(env: Env, args: &[Term]) -> Answer {
    if let Some((position, increment)) = single_increment(env, args[2]) {
        let guard = epoch::pin();
        let Some(table) = find(args[0], &guard) else { return slow() };
        // A default is judged even where it is not needed.
        let sound = args.get(3).is_none_or(|&default| {
            env.tuple_elements(default)
                .is_some_and(|object| object.len() >= table.schema().keypos())
        });
        if sound {
            let position = position.unwrap_or(table.schema().keypos() + 1);
            let answer = with_key(env, table, args[1], |key| {
                match table.core().add_to_counter(&key, position, increment) {
                    Ok(Counted::Value(value)) => Term(value).into(),
                    Ok(Counted::Undecided) => atoms::get().none.into(),
                    Err(_) => slow(),
                }
            });
            match answer {
                Answer::Term(term) if term == atoms::get().none => {}
                other => return other,
            }
        }
    }
    generic(env, OpCode::UpdateCounter, args[0], &args[1..])
}

/// Position and increment of the two forms that counters are mostly used with; the position of a
/// bare increment depends on the table.
#[inline]
fn single_increment(env: Env, operation: Term) -> Option<(Option<usize>, i64)> {
    if word::is_small(operation.0) {
        return Some((None, word::small_value(operation.0)));
    }
    if operation.is_list_cell() {
        return None;
    }
    match env.tuple_elements(operation)? {
        [position, increment] if word::is_small(position.0) && word::is_small(increment.0) => {
            let position = usize::try_from(word::small_value(position.0)).ok()?;
            Some((Some(position), word::small_value(increment.0)))
        }
        _ => None,
    }
}

fn update_element(env: Env, args: &[Term]) -> Answer {
    generic(env, OpCode::UpdateElement, args[0], &args[1..])
}

/// Words of objects that go into a bag on a normal scheduler.
const WORDS_INTO_BAG: usize = 512;

/// Any operation, in its general form.
fn generic(env: Env, op: OpCode, name: Term, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(name, &guard) else { return slow() };
    let into_bag =
        matches!(op, OpCode::InsertMany | OpCode::InsertNewMany) && table.schema().is_bag();
    with_buffer(|words| {
        words.push(word::header(Kind::Tuple, args.len() as u64));
        for &arg in args {
            if let Err(answer) = encode_argument(env, arg, words) {
                return answer;
            }
        }
        // Each object may have to be compared with many.
        if into_bag && words.len() > WORDS_INTO_BAG && !Env::on_dirty_scheduler() {
            return Answer::Dirty;
        }
        with_buffer(|result| match execute(table.core(), op, words, result) {
            Ok(()) => decode(env, result.as_slice(), 0, None).into(),
            Err(OpError::Unserved(_) | OpError::BadArgument(_) | OpError::TooLarge) => slow(),
        })
    })
}
