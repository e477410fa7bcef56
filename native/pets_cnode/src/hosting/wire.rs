//! What tables on different nodes say to each other, as bytes.
//!
//! Terms travel in Erlang's external format. Everything that comes in is checked before it is
//! used; a message that makes no sense is refused as a whole.
//!
//! | message | bytes |
//! | --- | --- |
//! | request | table, operation, flags, 4 bytes of milliseconds to go, `version`, arguments |
//! | reply | status, then what the status has |
//! | cast | table, kind, then what the kind has |
//!
//! Arguments are a tuple; `version` is that of a view (see [`Under`]) in 8 bytes, where the flags say so.
//!
//! A table is the length of its name in one byte and the name in UTF-8 (at most 255 bytes).
//! Numbers are big-endian.

use pets_core::ownership::{Message, TransferId};
use pets_core::placement::{Epoch, NodeName, Slot};
use pets_core::table::op::{Cause, OpCode};
use pets_core::term::etf::{self, EncodeError, Limits};

use super::sink::Reason;
use super::view::{Phase, Under};

/// A peer sent bytes that make no sense.
#[derive(Debug, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// An operation for another node.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub head: Head<'a>,
    /// The arguments in external format.
    pub args: &'a [u8],
}

/// What a request says beside the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The table's name.
    pub table: &'a str,
    /// The operation.
    pub op: OpCode,
    /// The operation is for this node, whatever slots it owns.
    pub addressed: bool,
    /// The view under which the node was chosen, for a placed table.
    pub under: Option<Under>,
    /// How long the caller still waits.
    pub time_left_ms: u32,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Reply<'a> {
    /// Carried out; the result in external format.
    Done(&'a [u8]),
    /// Nothing was done: wrong arguments.
    BadArgument(Cause),
    /// Nothing was done: another node owns the slot.
    Moved {
        /// The slot of the operation.
        slot: Slot,
        /// The epoch of the owner's claim, as far as the answering node knows.
        epoch: Epoch,
        /// The owner that it believes in.
        owner: NodeName,
    },
    /// It failed.
    Failed(Reason),
}

/// A one-way message on the ordered link.
#[derive(Debug)]
pub enum Cast<'a> {
    /// Opens the link; says nothing.
    Open,
    /// A part of a cast that is too long for one message.
    Part {
        /// Whether it is the last one.
        last: bool,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// For the ownership machine.
    Message(Message),
    /// Objects of a slot on its way to this node.
    Batch(Batch<'a>),
}

/// Some objects of a slot that changes its owner.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The slot that all of them belong to.
    pub slot: Slot,
    /// The attempt that the batch belongs to.
    pub transfer: TransferId,
    /// Whether objects go only where there is none with their key (a merge).
    pub merge: bool,
    /// [`Entry`]s, one behind the other.
    pub entries: &'a [u8],
}

/// One change of a slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// Store the object that was written to the buffer.
    Put,
    /// Remove the key that was written to the buffer.
    Remove,
    /// Remove everything received so far.
    Clear,
}

const FLAG_ADDRESSED: u8 = 1;
/// A version follows.
const FLAG_UNDER: u8 = 2;
/// The view of that version has to be closed.
const FLAG_CLOSED: u8 = 4;

const DONE: u8 = 0;
const BAD_ARGUMENT: u8 = 1;
const MOVED: u8 = 2;
const FAILED: u8 = 3;

const OPEN: u8 = 0;
const MESSAGE: u8 = 1;
const COPY: u8 = 2;
const MERGE: u8 = 3;
const PART: u8 = 4;
const LAST_PART: u8 = 5;

const PUT: u8 = 0;
const REMOVE: u8 = 1;
const CLEAR: u8 = 2;

/// Longest name of a table in bytes.
pub const LONGEST_NAME: usize = 255;

/// Longer requests are refused; their answers may be as long.
pub const LONGEST_REQUEST: usize = 60 << 20;

/// Longer casts travel in [`parts`].
pub const LONGEST_CAST: usize = 4 << 20;

/// Appends a request; `args` is an encoded tuple.
///
/// # Errors
/// [`EncodeError`] for arguments that no message can hold.
pub fn write_request(out: &mut Vec<u8>, head: &Head<'_>, args: &[u64]) -> Result<(), EncodeError> {
    write_name(out, head.table);
    out.push(head.op as u8);
    let phase = match head.under {
        None => 0,
        Some(Under { phase: Phase::Open, .. }) => FLAG_UNDER,
        Some(Under { phase: Phase::Closed, .. }) => FLAG_UNDER | FLAG_CLOSED,
    };
    out.push(phase | if head.addressed { FLAG_ADDRESSED } else { 0 });
    out.extend(head.time_left_ms.to_be_bytes());
    if let Some(under) = head.under {
        out.extend(under.version.to_be_bytes());
    }
    etf::encode(args, out)
}

/// Reads a request.
///
/// # Errors
/// [`Malformed`]; the arguments are not looked at.
pub fn read_request(bytes: &[u8]) -> Result<Request<'_>, Malformed> {
    let (table, rest) = read_name(bytes)?;
    let ([op, flags], rest) = split(rest)?;
    let (time_left, rest) = split(rest)?;
    let (under, args) = if flags & FLAG_UNDER == 0 {
        (None, rest)
    } else {
        let (version, rest) = split(rest)?;
        let closed = flags & FLAG_CLOSED != 0;
        let phase = if closed { Phase::Closed } else { Phase::Open };
        (Some(Under { version: u64::from_be_bytes(version), phase }), rest)
    };
    let op = OpCode::try_from(op).map_err(|_| Malformed("an operation that is not known here"))?;
    let head = Head {
        table,
        op,
        addressed: flags & FLAG_ADDRESSED != 0,
        under,
        time_left_ms: u32::from_be_bytes(time_left),
    };
    Ok(Request { head, args })
}

/// Appends the reply to an operation that was carried out; its result is an encoded term.
pub fn write_done(out: &mut Vec<u8>, result: &[u64]) {
    let start = out.len();
    out.push(DONE);
    if etf::encode(result, out).is_err() {
        out.truncate(start);
        write_reply(out, &Reply::Failed(Reason::TooLarge));
    }
}

/// Appends a reply that is not [`Reply::Done`].
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match reply {
        Reply::Done(result) => {
            out.push(DONE);
            out.extend_from_slice(result);
        }
        Reply::BadArgument(cause) => out.extend([BAD_ARGUMENT, *cause as u8]),
        Reply::Moved { slot, epoch, owner } => {
            out.push(MOVED);
            out.extend((slot.index() as u16).to_be_bytes());
            out.extend(epoch.number().to_be_bytes());
            write_name(out, owner.as_str());
        }
        Reply::Failed(reason) => out.extend([FAILED, *reason as u8]),
    }
}

/// Reads a reply.
///
/// # Errors
/// [`Malformed`]; the result is not looked at.
pub fn read_reply(bytes: &[u8]) -> Result<Reply<'_>, Malformed> {
    let ([status], rest) = split(bytes)?;
    match status {
        DONE => Ok(Reply::Done(rest)),
        BAD_ARGUMENT => {
            let ([cause], _) = split(rest)?;
            Cause::try_from(cause)
                .map(Reply::BadArgument)
                .map_err(|_| Malformed("an unknown cause"))
        }
        MOVED => {
            let (slot, rest) = split(rest)?;
            let (epoch, rest) = split(rest)?;
            let (owner, _) = read_name(rest)?;
            Ok(Reply::Moved {
                slot: slot_of(slot)?,
                epoch: Epoch::new(u64::from_be_bytes(epoch)),
                owner: owner.into(),
            })
        }
        FAILED => {
            let ([reason], _) = split(rest)?;
            Reason::from_number(reason).map(Reply::Failed).ok_or(Malformed("an unknown reason"))
        }
        _ => Err(Malformed("an unknown status")),
    }
}

/// A message that only opens the link.
pub fn open_cast() -> Vec<u8> {
    vec![0, OPEN]
}

/// A message of the ownership machine of `table`.
pub fn message_cast(table: &str, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write_name(&mut out, table);
    out.push(MESSAGE);
    postcard::to_extend(message, out).expect("a message has a finite serial form")
}

/// Cuts a long cast into messages.
pub fn parts(cast: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let count = cast.len().div_ceil(LONGEST_CAST);
    cast.chunks(LONGEST_CAST).enumerate().map(move |(index, bytes)| {
        let mut out = Vec::with_capacity(bytes.len() + 2);
        out.extend([0, if index + 1 == count { LAST_PART } else { PART }]);
        out.extend_from_slice(bytes);
        out
    })
}

/// Begins a batch, to which entries are then written.
pub fn begin_batch(table: &str, slot: Slot, transfer: TransferId, merge: bool) -> Vec<u8> {
    let mut out = Vec::new();
    write_name(&mut out, table);
    out.push(if merge { MERGE } else { COPY });
    out.extend((slot.index() as u16).to_be_bytes());
    out.extend(transfer.number().to_be_bytes());
    out
}

/// Adds the object in `words` to a batch.
///
/// # Errors
/// [`EncodeError`] for one that no message can hold.
pub fn write_put(out: &mut Vec<u8>, words: &[u64]) -> Result<(), EncodeError> {
    out.push(PUT);
    etf::encode(words, out)
}

/// Adds the removal of the key in `words` to a batch.
///
/// # Errors
/// [`EncodeError`] for one that no message can hold.
pub fn write_remove(out: &mut Vec<u8>, words: &[u64]) -> Result<(), EncodeError> {
    out.push(REMOVE);
    etf::encode(words, out)
}

/// Adds the removal of everything before to a batch.
pub fn write_clear(out: &mut Vec<u8>) {
    out.push(CLEAR);
}

/// Reads a cast and the name of its table (empty for [`Cast::Open`] and [`Cast::Part`]).
///
/// # Errors
/// [`Malformed`]; the entries of a batch are not looked at.
pub fn read_cast(bytes: &[u8]) -> Result<(&str, Cast<'_>), Malformed> {
    let (table, rest) = read_name(bytes)?;
    let ([kind], rest) = split(rest)?;
    let cast = match kind {
        OPEN => Cast::Open,
        PART | LAST_PART => Cast::Part { last: kind == LAST_PART, bytes: rest },
        MESSAGE => Cast::Message(
            postcard::from_bytes(rest).map_err(|_| Malformed("an unknown machine message"))?,
        ),
        COPY | MERGE => {
            let (slot, rest) = split(rest)?;
            let (transfer, entries) = split(rest)?;
            Cast::Batch(Batch {
                slot: slot_of(slot)?,
                transfer: TransferId::new(u64::from_be_bytes(transfer)),
                merge: kind == MERGE,
                entries,
            })
        }
        _ => return Err(Malformed("an unknown kind of message")),
    };
    Ok((table, cast))
}

/// Reads the first entry of `entries` into `words` (cleared first) and moves behind it; `None` at
/// the end.
///
/// # Errors
/// [`Malformed`]
pub fn read_entry(entries: &mut &[u8], words: &mut Vec<u64>) -> Result<Option<Entry>, Malformed> {
    words.clear();
    let Some((&kind, rest)) = entries.split_first() else { return Ok(None) };
    if kind == CLEAR {
        *entries = rest;
        return Ok(Some(Entry::Clear));
    }
    let read = etf::decode(rest, words, &Limits::default())
        .map_err(|_| Malformed("an object that is no term"))?;
    *entries = &rest[read..];
    match kind {
        PUT => Ok(Some(Entry::Put)),
        REMOVE => Ok(Some(Entry::Remove)),
        _ => Err(Malformed("an unknown entry")),
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    debug_assert!(name.len() <= LONGEST_NAME);
    out.push(name.len() as u8);
    out.extend_from_slice(name.as_bytes());
}

fn read_name(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let ([length], rest) = split(bytes)?;
    let name = rest.get(..usize::from(length)).ok_or(Malformed("a name that is cut off"))?;
    let name = std::str::from_utf8(name).map_err(|_| Malformed("a name that is not UTF-8"))?;
    Ok((name, &rest[usize::from(length)..]))
}

fn slot_of(bytes: [u8; 2]) -> Result<Slot, Malformed> {
    Slot::new(usize::from(u16::from_be_bytes(bytes))).ok_or(Malformed("no such slot"))
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Malformed> {
    match bytes.split_first_chunk::<N>() {
        Some((head, rest)) => Ok((*head, rest)),
        None => Err(Malformed("cut off")),
    }
}

#[cfg(test)]
mod tests {
    use pets_core::term::word;

    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_written() {
        let phases = [Phase::Open, Phase::Closed];
        let unders = phases.map(|phase| Some(Under { version: (1 << 58) - 1, phase }));
        for under in unders.into_iter().chain([None]) {
            for addressed in [false, true] {
                let mut bytes = Vec::new();
                let args = [word::header(word::Kind::Tuple, 1), word::small(5)];
                let op = OpCode::Lookup;
                let head = Head { table: "t", op, addressed, under, time_left_ms: 9 };
                write_request(&mut bytes, &head, &args).expect("the arguments fit");
                let request = read_request(&bytes).expect("it was written here");
                assert_eq!(request.head, head);
                let mut read = Vec::new();
                etf::decode(request.args, &mut read, &Limits::default()).expect("a term");
                assert_eq!(read, args);
            }
        }
    }

    #[test]
    fn a_request_without_its_version_is_refused() {
        let mut bytes = Vec::new();
        write_name(&mut bytes, "t");
        bytes.extend([OpCode::Lookup as u8, FLAG_UNDER, 0, 0, 0, 9, 1, 2, 3]);
        assert!(read_request(&bytes).is_err());
    }
}
