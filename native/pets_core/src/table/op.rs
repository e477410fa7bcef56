//! Every operation on a table in its general form: a number, one tuple of arguments, one result
//! term. This is what travels between nodes, and what a caller falls back on where the direct
//! methods of [`Table`] cannot decide.
//!
//! Arguments are judged as `:ets` judges them, so that a caller can raise exactly what `:ets`
//! would raise. Operations that fail change nothing.

mod counter;
mod element;
mod integer;
mod ordered;
mod slots;

use std::sync::OnceLock;

use super::{Entry, NotAnObject, Object, Schema, Table, Unserved};
use crate::placement::Slot;
use crate::term::atoms;
use crate::term::walk::{self, Elements};
use crate::term::word::{self, Kind};

/// An operation. The numbers are part of the protocol between nodes: they are never given to
/// another operation.
///
/// | operation | arguments | result |
/// | --- | --- | --- |
/// | `Lookup` | `{Key}` | list of the key's objects |
/// | `LookupElement` | `{Key, Pos}`, `{Key, Pos, Default}` | the element; of a bag a list of them |
/// | `Member` | `{Key}` | boolean |
/// | `Insert` | `{Object}` | `true` |
/// | `InsertMany` | `{[Object]}` | `true` |
/// | `InsertNew` | `{Object}` | boolean |
/// | `InsertNewMany` | `{[Object]}` | boolean |
/// | `Delete` | `{Key}` | `true` |
/// | `DeleteObject` | `{Object}` | `true` |
/// | `Take` | `{Key}` | list of the key's objects |
/// | `UpdateCounter` | `{Key, Ops}`, `{Key, Ops, Default}` | integer, or list of them |
/// | `UpdateElement` | `{Key, Ops}`, `{Key, Ops, Default}` | boolean |
/// | `DeleteAll` | `{}` | `true` |
/// | `MemberMany` | `{[Key]}` | list of booleans |
/// | `LookupMany` | `{[Key]}` | list of what `Lookup` answers for each |
/// | `ScanSlots` | `{[Slot], From}` | `{Objects, Visited, From, [{Slot, From}]}` |
/// | `ScanSlot` | `{[Slot], From}` | the same, for one slot |
/// | `DeleteSlots` | `{[Slot], 0}` | `[{Slot, 0}]` |
/// | `DeleteSlot` | `{[Slot], 0}` | `[]` |
/// | `CountSlots` | `{[Slot], 0}` | `{Objects, Bytes, [{Slot, 0}]}` |
/// | `CountSlot` | `{[Slot], 0}` | the same, for one slot |
/// | `FirstFrom` | `{Slot}` | `{key, Key}` or `{continue, Slot}` |
/// | `NextAfter` | `{Key}` | `{key, Key}` or `{continue, Slot}` |
/// | `ScanOrdered` | `{[Slot], After, Limit, Ascending}` | `{Objects, After, [Slot]}` |
/// | `ScanOrderedSlot` | the same, for one slot | the same |
///
/// `After` is `[Key]`, or `[]`: at the beginning as an argument, at the end as a result. `Limit` is a
/// number of objects, `Ascending` a boolean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the table above says what each one is")]
pub enum OpCode {
    Lookup = 1,
    LookupElement = 2,
    Member = 3,
    Insert = 4,
    InsertMany = 5,
    InsertNew = 6,
    InsertNewMany = 7,
    Delete = 8,
    DeleteObject = 9,
    Take = 10,
    UpdateCounter = 11,
    UpdateElement = 12,
    DeleteAll = 13,
    MemberMany = 14,
    ScanSlots = 15,
    ScanSlot = 16,
    DeleteSlots = 17,
    DeleteSlot = 18,
    CountSlots = 19,
    CountSlot = 20,
    FirstFrom = 21,
    NextAfter = 22,
    ScanOrdered = 23,
    ScanOrderedSlot = 24,
    LookupMany = 25,
}

/// A number that stands for no operation, or for no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} stands for nothing here")]
pub struct UnknownNumber(pub u8);

impl TryFrom<u8> for OpCode {
    type Error = UnknownNumber;

    fn try_from(number: u8) -> Result<Self, UnknownNumber> {
        Ok(match number {
            1 => OpCode::Lookup,
            2 => OpCode::LookupElement,
            3 => OpCode::Member,
            4 => OpCode::Insert,
            5 => OpCode::InsertMany,
            6 => OpCode::InsertNew,
            7 => OpCode::InsertNewMany,
            8 => OpCode::Delete,
            9 => OpCode::DeleteObject,
            10 => OpCode::Take,
            11 => OpCode::UpdateCounter,
            12 => OpCode::UpdateElement,
            13 => OpCode::DeleteAll,
            14 => OpCode::MemberMany,
            15 => OpCode::ScanSlots,
            16 => OpCode::ScanSlot,
            17 => OpCode::DeleteSlots,
            18 => OpCode::DeleteSlot,
            19 => OpCode::CountSlots,
            20 => OpCode::CountSlot,
            21 => OpCode::FirstFrom,
            22 => OpCode::NextAfter,
            23 => OpCode::ScanOrdered,
            24 => OpCode::ScanOrderedSlot,
            25 => OpCode::LookupMany,
            _ => return Err(UnknownNumber(number)),
        })
    }
}

impl OpCode {
    /// The operation of this name, as Elixir and Erlang callers spell it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "lookup" => OpCode::Lookup,
            "lookup_element" => OpCode::LookupElement,
            "member" => OpCode::Member,
            "insert" => OpCode::Insert,
            "insert_many" => OpCode::InsertMany,
            "insert_new" => OpCode::InsertNew,
            "insert_new_many" => OpCode::InsertNewMany,
            "delete" => OpCode::Delete,
            "delete_object" => OpCode::DeleteObject,
            "take" => OpCode::Take,
            "update_counter" => OpCode::UpdateCounter,
            "update_element" => OpCode::UpdateElement,
            "delete_all" => OpCode::DeleteAll,
            "member_many" => OpCode::MemberMany,
            "scan_slots" => OpCode::ScanSlots,
            "scan_slot" => OpCode::ScanSlot,
            "delete_slots" => OpCode::DeleteSlots,
            "delete_slot" => OpCode::DeleteSlot,
            "count_slots" => OpCode::CountSlots,
            "count_slot" => OpCode::CountSlot,
            "first_from" => OpCode::FirstFrom,
            "next_after" => OpCode::NextAfter,
            "scan_ordered" => OpCode::ScanOrdered,
            "scan_ordered_slot" => OpCode::ScanOrderedSlot,
            "lookup_many" => OpCode::LookupMany,
            _ => return None,
        })
    }

    /// Whether the operation may concern several slots, all of which one node has to serve.
    pub const fn takes_many(self) -> bool {
        matches!(
            self,
            OpCode::InsertMany | OpCode::InsertNewMany | OpCode::MemberMany | OpCode::LookupMany
        )
    }

    /// Whether the operation may change a table.
    pub const fn writes(self) -> bool {
        !matches!(
            self,
            OpCode::Lookup
                | OpCode::LookupElement
                | OpCode::LookupMany
                | OpCode::Member
                | OpCode::MemberMany
        )
    }
}

/// What `:ets` tells about a bad argument. The numbers are part of the protocol between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// Nothing.
    None = 0,
    /// `badkey`: the key is not in the table.
    BadKey = 1,
    /// `keypos`: the operation would change the key.
    KeyPos = 2,
    /// `position`: the object has no such element.
    Position = 3,
    /// `table_type`: not for tables of this type.
    TableType = 4,
}

impl Cause {
    /// The name that `:ets` gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::None => "none",
            Cause::BadKey => "badkey",
            Cause::KeyPos => "keypos",
            Cause::Position => "position",
            Cause::TableType => "table_type",
        }
    }
}

impl TryFrom<u8> for Cause {
    type Error = UnknownNumber;

    fn try_from(number: u8) -> Result<Self, UnknownNumber> {
        Ok(match number {
            0 => Cause::None,
            1 => Cause::BadKey,
            2 => Cause::KeyPos,
            3 => Cause::Position,
            4 => Cause::TableType,
            _ => return Err(UnknownNumber(number)),
        })
    }
}

/// Why an operation was not carried out. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// A slot does not serve the operation.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// `:ets` would raise `badarg`.
    #[error("bad argument ({0:?})")]
    BadArgument(Cause),
    /// An object is too large to be stored.
    #[error("an object takes too many words")]
    TooLarge,
}

impl From<NotAnObject> for OpError {
    fn from(error: NotAnObject) -> Self {
        match error {
            NotAnObject::NotATuple | NotAnObject::TooShort => BAD_ARGUMENT,
            NotAnObject::TooLarge => OpError::TooLarge,
        }
    }
}

const BAD_ARGUMENT: OpError = OpError::BadArgument(Cause::None);

/// Carries an operation out and appends its result, one encoded term, to `out`.
///
/// `args` is the encoded tuple of arguments, which must be well formed as a term; that it has the
/// right shape is checked.
///
/// # Errors
/// [`OpError`]; `out` is as it was then.
pub fn execute(table: &Table, op: OpCode, args: &[u64], out: &mut Vec<u64>) -> Result<(), OpError> {
    let schema = table.schema();
    match op {
        OpCode::Lookup => {
            let guard = crate::epoch::pin();
            push_objects(out, table.get(&schema.key(one(args)?), &guard)?);
        }
        OpCode::LookupMany => {
            let guard = crate::epoch::pin();
            let (start, keys) = (out.len(), list(one(args)?)?);
            push_list(out, keys.clone().count());
            for key in keys {
                match table.get(&schema.key(key), &guard) {
                    Ok(entry) => push_objects(out, entry),
                    Err(unserved) => {
                        out.truncate(start);
                        return Err(unserved.into());
                    }
                }
            }
        }
        OpCode::LookupElement => element::lookup(table, args, out)?,
        OpCode::Member => {
            let key = schema.key(one(args)?);
            out.push(boolean(table.contains(&key, &crate::epoch::pin())?));
        }
        OpCode::Insert => {
            table.insert(&schema.object(one(args)?)?)?;
            out.push(boolean(true));
        }
        OpCode::InsertMany => {
            table.insert_many(&objects(one(args)?, schema)?)?;
            out.push(boolean(true));
        }
        OpCode::InsertNew => {
            let inserted = table.insert_new(&schema.object(one(args)?)?)?;
            out.push(boolean(inserted));
        }
        OpCode::InsertNewMany => {
            let inserted = table.insert_new_many(&objects(one(args)?, schema)?)?;
            out.push(boolean(inserted));
        }
        OpCode::Delete => {
            table.remove(&schema.key(one(args)?))?;
            out.push(boolean(true));
        }
        OpCode::DeleteObject => {
            table.remove_object(&schema.object(one(args)?)?)?;
            out.push(boolean(true));
        }
        OpCode::Take => {
            let key = schema.key(one(args)?);
            let start = out.len();
            out.push(word::NIL);
            match table.take(&key, out) {
                Ok(0) => {}
                Ok(taken) => out[start] = word::header(Kind::List, taken as u64),
                Err(unserved) => {
                    out.truncate(start);
                    return Err(unserved.into());
                }
            }
        }
        OpCode::UpdateCounter => counter::update(table, args, out)?,
        OpCode::UpdateElement => element::update(table, args, out)?,
        OpCode::DeleteAll => {
            if walk::arity(args) != Some(0) {
                return Err(BAD_ARGUMENT);
            }
            table.clear_owned()?;
            out.push(boolean(true));
        }
        OpCode::MemberMany => {
            let guard = crate::epoch::pin();
            let keys = list(one(args)?)?;
            let present = |key| Ok(boolean(table.contains(&schema.key(key), &guard)?));
            let words = keys.map(present).collect::<Result<Vec<u64>, OpError>>()?;
            push_list(out, words.len());
            out.extend(words);
        }
        OpCode::ScanSlots => slots::scan(table, args, false, out)?,
        OpCode::ScanSlot => slots::scan(table, args, true, out)?,
        OpCode::DeleteSlots => slots::delete(table, args, false, out)?,
        OpCode::DeleteSlot => slots::delete(table, args, true, out)?,
        OpCode::CountSlots => slots::count(table, args, false, out)?,
        OpCode::CountSlot => slots::count(table, args, true, out)?,
        OpCode::ScanOrdered => ordered::scan(table, args, false, out)?,
        OpCode::ScanOrderedSlot => ordered::scan(table, args, true, out)?,
        OpCode::FirstFrom => slots::first_from(table, slots::slot(one(args)?)?, out)?,
        OpCode::NextAfter => slots::next_after(table, &schema.key(one(args)?), out)?,
    }
    Ok(())
}

/// The slots that an operation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slots {
    /// One slot.
    One(Slot),
    /// These, in ascending order; none for an operation on an empty list.
    Many(Vec<Slot>),
    /// Whatever slots there are.
    All,
}

/// Tells where an operation has to be carried out, in a table with this schema.
///
/// # Errors
/// Those that [`execute`] finds without looking into the table.
pub fn slots_of(op: OpCode, args: &[u64], schema: Schema) -> Result<Slots, OpError> {
    match op {
        OpCode::Lookup | OpCode::Member | OpCode::Delete | OpCode::Take | OpCode::NextAfter => {
            Ok(Slots::One(schema.key(one(args)?).slot()))
        }
        OpCode::LookupElement | OpCode::UpdateCounter | OpCode::UpdateElement => {
            Ok(Slots::One(schema.key(two_or_three(args)?.0).slot()))
        }
        OpCode::Insert | OpCode::InsertNew | OpCode::DeleteObject => {
            Ok(Slots::One(schema.object(one(args)?)?.slot()))
        }
        OpCode::InsertMany | OpCode::InsertNewMany => {
            Ok(ascending(objects(one(args)?, schema)?.iter().map(Object::slot).collect()))
        }
        OpCode::MemberMany | OpCode::LookupMany => {
            Ok(ascending(list(one(args)?)?.map(|key| schema.key(key).slot()).collect()))
        }
        OpCode::ScanOrdered | OpCode::ScanOrderedSlot => Ok(ascending(ordered::slots(args)?)),
        OpCode::DeleteAll => Ok(Slots::All),
        OpCode::FirstFrom => Ok(Slots::One(slots::slot(one(args)?)?)),
        OpCode::ScanSlots
        | OpCode::ScanSlot
        | OpCode::DeleteSlots
        | OpCode::DeleteSlot
        | OpCode::CountSlots
        | OpCode::CountSlot => Ok(ascending(slots::slots(args)?)),
    }
}

fn ascending(mut slots: Vec<Slot>) -> Slots {
    slots.sort_unstable();
    slots.dedup();
    Slots::Many(slots)
}

/// The only argument.
fn one(args: &[u64]) -> Result<&[u64], OpError> {
    match walk::arity(args) {
        Some(1) => Ok(&args[1..walk::skip(args, 1)]),
        _ => Err(BAD_ARGUMENT),
    }
}

/// Two arguments and perhaps a third one.
type TwoOrThree<'a> = (&'a [u64], &'a [u64], Option<&'a [u64]>);

fn two_or_three(args: &[u64]) -> Result<TwoOrThree<'_>, OpError> {
    if !matches!(walk::arity(args), Some(2 | 3)) {
        return Err(BAD_ARGUMENT);
    }
    let mut elements = Elements::of(args);
    match (elements.next(), elements.next()) {
        (Some(first), Some(second)) => Ok((first, second, elements.next())),
        _ => Err(BAD_ARGUMENT),
    }
}

fn two(args: &[u64]) -> Result<(&[u64], &[u64]), OpError> {
    match two_or_three(args)? {
        (first, second, None) => Ok((first, second)),
        _ => Err(BAD_ARGUMENT),
    }
}

/// The elements of a proper list.
fn list(words: &[u64]) -> Result<Elements<'_>, OpError> {
    match word::split_header(words[0]) {
        Some((Kind::List, _)) => Ok(Elements::of(words)),
        // No elements.
        None if words[0] == word::NIL => Ok(Elements::of(words)),
        _ => Err(BAD_ARGUMENT),
    }
}

fn objects(words: &[u64], schema: Schema) -> Result<Vec<Object<'_>>, OpError> {
    list(words)?.map(|object| Ok(schema.object(object)?)).collect()
}

/// The operations of an `update_counter` or `update_element`: one tuple, or a list of them. An
/// improper list gives an error behind its elements, as `:ets` finds it.
fn operations(words: &[u64]) -> impl Iterator<Item = Result<&[u64], OpError>> {
    let (single, items, improper) = match word::split_header(words[0]) {
        Some((Kind::List, count)) => (None, count as usize, false),
        Some((Kind::ImproperList, count)) => (None, count as usize, true),
        None if words[0] == word::NIL => (None, 0, false),
        _ => (Some(words), 0, false),
    };
    let listed = Elements::of(words).take(items);
    let end = improper.then_some(Err(BAD_ARGUMENT));
    single.into_iter().chain(listed).map(Ok).chain(end)
}

/// The position that an operation names: that of an element which is not the key.
fn position_in(words: &[u64], arity: usize, keypos: usize) -> Result<usize, OpError> {
    let [word] = *words else { return Err(BAD_ARGUMENT) };
    if !word::is_small(word) {
        return Err(BAD_ARGUMENT);
    }
    match usize::try_from(word::small_value(word)) {
        Ok(position) if position == keypos => Err(OpError::BadArgument(Cause::KeyPos)),
        Ok(position) if (1..=arity).contains(&position) => Ok(position),
        _ => Err(OpError::BadArgument(Cause::Position)),
    }
}

fn push_list(out: &mut Vec<u64>, count: usize) {
    out.push(match count {
        0 => word::NIL,
        count => word::header(Kind::List, count as u64),
    });
}

/// The list of what a key has.
fn push_objects(out: &mut Vec<u64>, entry: Option<Entry<'_>>) {
    let Some(entry) = entry else { return out.push(word::NIL) };
    let records = entry.records();
    push_list(out, records.len());
    records.for_each(|record| record.copy_to(out));
}

/// `true` or `false`.
fn boolean(value: bool) -> u64 {
    static WORDS: OnceLock<[u64; 2]> = OnceLock::new();
    WORDS.get_or_init(|| ["false", "true"].map(atom))[usize::from(value)]
}

/// The atom of a short name.
fn atom(name: &str) -> u64 {
    atoms::vm().atom_word(name).expect("the name is short, and the VM has room for a few atoms")
}

/// An object that is being changed: its present words, and new ones for some of its elements.
struct Draft {
    words: Vec<u64>,
    /// Position and new words, the last one counts.
    changes: Vec<(usize, Vec<u64>)>,
}

impl Draft {
    /// A draft of a stored object.
    fn of(record: super::Record<'_>) -> Self {
        Draft { words: record.words().collect(), changes: Vec::new() }
    }

    /// A draft of a default object, which gets the key.
    fn of_default(default: &[u64], key: &[u64], keypos: usize) -> Self {
        Draft { words: default.to_vec(), changes: vec![(keypos, key.to_vec())] }
    }

    fn arity(&self) -> usize {
        walk::arity(&self.words).expect("a draft is made of a tuple")
    }

    fn element(&self, position: usize) -> &[u64] {
        if let Some((_, words)) = self.changes.iter().rev().find(|(p, _)| *p == position) {
            return words;
        }
        let range = walk::element(&self.words, position).expect("positions were checked");
        &self.words[range]
    }

    fn set(&mut self, position: usize, words: Vec<u64>) {
        self.changes.push((position, words));
    }

    /// Writes the object with all changes made.
    fn write(mut self, out: &mut Vec<u64>) {
        // Stable, so that the last change of a position stays the last one.
        self.changes.sort_by_key(|(position, _)| *position);
        out.push(self.words[0]);
        let mut changes = self.changes.iter().peekable();
        for (index, element) in Elements::of(&self.words).enumerate() {
            let mut words = element;
            while let Some((_, changed)) = changes.next_if(|(p, _)| *p == index + 1) {
                words = changed;
            }
            out.extend_from_slice(words);
        }
    }
}

/// The object that an update starts from: the stored one, else the default.
fn draft(
    record: Option<super::Record<'_>>,
    default: Option<&[u64]>,
    key: &[u64],
    keypos: usize,
) -> Option<Draft> {
    match (record, default) {
        (Some(record), _) => Some(Draft::of(record)),
        (None, Some(default)) => Some(Draft::of_default(default, key, keypos)),
        (None, None) => None,
    }
}
