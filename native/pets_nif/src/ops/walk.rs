//! Going through a table that is served by this node as a whole.
//!
//! Where a slot is elsewhere, or on its way, the answer is `$pets_slow`: Elixir then asks the nodes.

use pets_core::epoch::{self, Guard};
use pets_core::table::{Cursor, Direction, Record, ScanEnd};
use pets_core::term::word;

use crate::Table;
use crate::atoms;
use crate::decode::decode;
use crate::ops::key::{find, slow, with_key};
use crate::raw::{Answer, Env, Term, nifs};
use crate::stored::Stored;

nifs! {
    table_first/1 => first;
    table_last/1 => last;
    table_next/2 => next;
    table_prev/2 => prev;
    table_scan/2 => scan;
    table_scan_ordered/3 => scan_ordered;
}

/// Words of objects in one answer: about a quarter of a millisecond's work to make terms of.
const CHUNK_WORDS: usize = 16 << 10;

fn first(env: Env, args: &[Term]) -> Answer {
    edge(env, args, Direction::Ascending)
}

fn last(env: Env, args: &[Term]) -> Answer {
    edge(env, args, Direction::Descending)
}

fn next(env: Env, args: &[Term]) -> Answer {
    follow(env, args, Direction::Ascending)
}

fn prev(env: Env, args: &[Term]) -> Answer {
    follow(env, args, Direction::Descending)
}

/// `name`: the first key in a direction, or `$end_of_table`.
fn edge(env: Env, args: &[Term], direction: Direction) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    let found = table.core().neighbour(direction, None, &guard);
    found.map_or_else(slow, |record| key_term(env, table, record))
}

/// `name, key`: the key behind one, or `$end_of_table`.
fn follow(env: Env, args: &[Term], direction: Direction) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    if args[1] == atoms::get().end_of_table {
        return slow();
    }
    with_key(env, table, args[1], |key| {
        // Only in an order of keys has an absent one a place.
        let has_place = table.schema().compares_keys()
            || table.core().contains(&key, &guard).is_ok_and(|present| present);
        let found =
            has_place.then(|| table.core().neighbour(direction, Some(key.words), &guard)).flatten();
        found.map_or_else(slow, |record| key_term(env, table, record))
    })
}

fn key_term(env: Env, table: &Table, record: Option<Record<'_>>) -> Answer {
    match record {
        Some(record) => {
            decode(env, &Stored::new(record), record.key_offset(table.schema().keypos()), None)
                .into()
        }
        None => atoms::get().end_of_table.into(),
    }
}

/// `name, from`: `{objects, from | nil}`, some objects from a hash on (0 is the beginning), and
/// where to go on.
fn scan(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    let Some(from) = env.unsigned_value(args[1]) else { return env.bad_argument().into() };
    let mut objects = Vec::new();
    let end = table.core().scan_all(Cursor::from_bits(from), CHUNK_WORDS, &guard, |record| {
        objects.push(decode(env, &Stored::new(record), 0, None));
    });
    let next = match end {
        Some(ScanEnd::Done) => atoms::get().nil,
        Some(ScanEnd::More(next)) => env.unsigned(next.to_bits()),
        Some(ScanEnd::Blocked(..)) | None => return slow(),
    };
    env.tuple(&[env.list(&objects), next]).into()
}

/// `name, ascending, after`: `{objects, after}`, some objects behind a key. `after` is `[key]`, or
/// `[]` for the beginning, and for the end.
fn scan_ordered(env: Env, args: &[Term]) -> Answer {
    let guard = epoch::pin();
    let Some(table) = find(args[0], &guard) else { return slow() };
    if !table.schema().compares_keys() {
        return slow();
    }
    let direction =
        if args[1] == atoms::get().t_true { Direction::Ascending } else { Direction::Descending };
    match env.list_cell(args[2]) {
        Some((key, _)) => with_key(env, table, key, |key| {
            ordered_chunk(env, table, direction, Some(key.words), &guard)
        }),
        None => ordered_chunk(env, table, direction, None, &guard),
    }
}

fn ordered_chunk(
    env: Env,
    table: &Table,
    direction: Direction,
    after: Option<&[u64]>,
    guard: &Guard,
) -> Answer {
    let Some(chunk) = table.core().scan_all_ordered(direction, after, CHUNK_WORDS, guard) else {
        return slow();
    };
    let objects: Vec<_> =
        chunk.records.iter().map(|record| decode(env, &Stored::new(*record), 0, None)).collect();
    let after = match chunk.position {
        Some(key) => env.list(&[decode(env, key.as_slice(), 0, None)]),
        None => Term(word::NIL),
    };
    env.tuple(&[env.list(&objects), after]).into()
}
