//! `update_counter` in all its forms.

use super::integer::Integer;
use super::{
    BAD_ARGUMENT, Cause, Draft, OpError, draft, operations, position_in, push_list, two_or_three,
};
use crate::table::{Change, Counted, Table};
use crate::term::walk::{self, Elements};
use crate::term::word::{self, Kind};
use std::cmp::Ordering;

/// `{Key, Ops}` or `{Key, Ops, Default}`.
pub(super) fn update(table: &Table, args: &[u64], out: &mut Vec<u64>) -> Result<(), OpError> {
    let (key, ops, default) = two_or_three(args)?;
    if default.is_some_and(|default| walk::arity(default).is_none()) {
        return Err(BAD_ARGUMENT);
    }
    let schema = table.schema();
    if schema.is_bag() {
        return Err(OpError::BadArgument(Cause::TableType));
    }
    let keypos = schema.keypos();
    let key = schema.key(key);
    if let Some((position, increment)) = plain(ops, keypos)
        && let Counted::Value(sum) = table.add_to_counter(&key, position, increment)?
    {
        out.push(sum);
        return Ok(());
    }
    let start = out.len();
    let updated = table.update(&key, |record, words| {
        let existed = record.is_some();
        let Some(mut draft) = draft(record, default, key.words, keypos) else {
            return (Change::Keep, Err(OpError::BadArgument(Cause::BadKey)));
        };
        if let Err(error) = apply_all(&mut draft, ops, keypos, out) {
            return (Change::Keep, Err(error));
        }
        if existed && draft.changes.is_empty() {
            return (Change::Keep, Ok(()));
        }
        draft.write(words);
        match schema.object(words) {
            Ok(_) => (Change::Put, Ok(())),
            // A default that ends before the key position, or a number that has grown too large.
            Err(error) => (Change::Keep, Err(error.into())),
        }
    });
    let result = updated.map_err(OpError::from).flatten();
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Position and increment where there is one operation, of small numbers and without a threshold.
fn plain(ops: &[u64], keypos: usize) -> Option<(usize, i64)> {
    match *ops {
        [increment] if word::is_small(increment) => {
            Some((keypos + 1, word::small_value(increment)))
        }
        [header, position, increment]
            if header == word::header(Kind::Tuple, 2)
                && word::is_small(position)
                && word::is_small(increment) =>
        {
            let position = usize::try_from(word::small_value(position)).ok()?;
            Some((position, word::small_value(increment)))
        }
        _ => None,
    }
}

/// Applies the operations in turn, and appends what the call answers.
fn apply_all(
    draft: &mut Draft,
    ops: &[u64],
    keypos: usize,
    out: &mut Vec<u64>,
) -> Result<(), OpError> {
    if let Some(increment) = Integer::of(ops) {
        let position = [word::small(keypos as i64 + 1)];
        let operation = Operation { position: &position, increment, limit: None };
        return operation.apply(draft, keypos, out);
    }
    let is_list = matches!(word::split_header(ops[0]), Some((Kind::List | Kind::ImproperList, _)))
        || ops[0] == word::NIL;
    if is_list {
        push_list(out, operations(ops).count());
    }
    for operation in operations(ops) {
        Operation::of(operation?)?.apply(draft, keypos, out)?;
    }
    Ok(())
}

/// `{Pos, Incr}` or `{Pos, Incr, Threshold, SetValue}`.
struct Operation<'a> {
    position: &'a [u64],
    increment: Integer<'a>,
    /// A sum beyond the first one is replaced by the second one.
    limit: Option<(Integer<'a>, Integer<'a>)>,
}

impl<'a> Operation<'a> {
    /// Judges the numbers; the position is judged by [`Operation::apply`], as `:ets` does.
    fn of(words: &'a [u64]) -> Result<Self, OpError> {
        let mut elements = Elements::of(words);
        let mut next = || elements.next().ok_or(BAD_ARGUMENT);
        let integer = |words| Integer::of(words).ok_or(BAD_ARGUMENT);
        match walk::arity(words) {
            Some(2) => {
                Ok(Operation { position: next()?, increment: integer(next()?)?, limit: None })
            }
            Some(4) => Ok(Operation {
                position: next()?,
                increment: integer(next()?)?,
                limit: Some((integer(next()?)?, integer(next()?)?)),
            }),
            _ => Err(BAD_ARGUMENT),
        }
    }

    fn apply(&self, draft: &mut Draft, keypos: usize, out: &mut Vec<u64>) -> Result<(), OpError> {
        let position = position_in(self.position, draft.arity(), keypos)?;
        let old = Integer::of(draft.element(position)).ok_or(BAD_ARGUMENT)?;
        let mut sum = old.plus(self.increment);
        if let Some((threshold, value)) = self.limit {
            let beyond =
                if self.increment.is_negative() { Ordering::Less } else { Ordering::Greater };
            let integer = Integer::of(&sum).expect("a sum is an integer");
            if integer.compare(threshold) == beyond {
                sum = value.words().to_vec();
            }
        }
        out.extend_from_slice(&sum);
        draft.set(position, sum);
        Ok(())
    }
}
