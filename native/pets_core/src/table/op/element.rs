//! `lookup_element` and `update_element`.

use super::{
    BAD_ARGUMENT, Cause, OpError, boolean, draft, operations, position_in, push_list, two_or_three,
};
use crate::table::{Change, Entry, Table};
use crate::term::walk::{self, Elements};
use crate::term::word;

/// `{Key, Pos}` or `{Key, Pos, Default}`. The position is judged before the key.
pub(super) fn lookup(table: &Table, args: &[u64], out: &mut Vec<u64>) -> Result<(), OpError> {
    let (key, position, default) = two_or_three(args)?;
    let position = match *position {
        [word] if word::is_small(word) => word::small_value(word),
        _ => return Err(BAD_ARGUMENT),
    };
    let Some(position) = usize::try_from(position).ok().filter(|&position| position > 0) else {
        return Err(BAD_ARGUMENT);
    };
    let guard = crate::epoch::pin();
    match (table.get(&table.schema().key(key), &guard)?, default) {
        (Some(entry), _) if table.schema().is_bag() => elements(entry, position, out)?,
        (Some(entry), _) => {
            let record = entry.first();
            record.copy_range_to(record.element(position).ok_or(BAD_ARGUMENT)?, out);
        }
        (None, Some(default)) => out.extend_from_slice(default),
        (None, None) => return Err(OpError::BadArgument(Cause::BadKey)),
    }
    Ok(())
}

/// The list of one element of each object, which all of them must have.
fn elements(entry: Entry<'_>, position: usize, out: &mut Vec<u64>) -> Result<(), OpError> {
    let start = out.len();
    let records = entry.records();
    push_list(out, records.len());
    for record in records {
        let Some(range) = record.element(position) else {
            out.truncate(start);
            return Err(BAD_ARGUMENT);
        };
        record.copy_range_to(range, out);
    }
    Ok(())
}

/// `{Key, Ops}` or `{Key, Ops, Default}`. Without an object to start from the operations are not
/// even looked at.
pub(super) fn update(table: &Table, args: &[u64], out: &mut Vec<u64>) -> Result<(), OpError> {
    let (key, ops, default) = two_or_three(args)?;
    if default.is_some_and(|default| walk::arity(default).is_none()) {
        return Err(BAD_ARGUMENT);
    }
    let schema = table.schema();
    if schema.is_bag() {
        return Err(BAD_ARGUMENT);
    }
    let keypos = schema.keypos();
    let updated = table.update(&schema.key(key), |record, words| {
        let Some(mut draft) = draft(record, default, key, keypos) else {
            return (Change::Keep, Ok(false));
        };
        for operation in operations(ops) {
            let checked = operation.and_then(|operation| {
                let mut parts = Elements::of(operation);
                match (walk::arity(operation), parts.next(), parts.next()) {
                    (Some(2), Some(position), Some(value)) => {
                        Ok((position_in(position, draft.arity(), keypos)?, value))
                    }
                    _ => Err(BAD_ARGUMENT),
                }
            });
            match checked {
                Ok((position, value)) => draft.set(position, value.to_vec()),
                Err(error) => return (Change::Keep, Err(error)),
            }
        }
        draft.write(words);
        match schema.object(words) {
            Ok(_) => (Change::Put, Ok(true)),
            // A default that ends before the key position, or an object that has grown too large.
            Err(error) => (Change::Keep, Err(error.into())),
        }
    })??;
    out.push(boolean(updated));
    Ok(())
}
