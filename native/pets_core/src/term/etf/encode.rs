//! Words to external term format.

use super::{VERSION, tag};
use crate::term::atoms;
use crate::term::walk::{Layout, append_bytes};
use crate::term::word::{self, Kind};

/// Why a term has no external form. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A part has more elements or bytes than the format has numbers for (2^32).
    #[error("a part of the term is larger than the external term format can say")]
    TooLarge,
}

/// Appends the term that `words` starts with, without the version byte.
///
/// # Errors
/// [`EncodeError`]; `out` is as before then.
///
/// # Panics
/// When `words` does not start with a whole term.
pub fn encode(words: &[u64], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let done = terms(words, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Appends the term that `words` starts with, after the version byte 131.
///
/// # Errors
/// [`EncodeError`]; `out` is as before then.
///
/// # Panics
/// When `words` does not start with a whole term.
pub fn encode_versioned(words: &[u64], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(VERSION);
    let done = terms(words, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Something that is not over with its last term.
struct Open {
    /// Terms that follow it.
    outer_left: usize,
    /// The place of a fun's size, which counts its free variables; for a list, none.
    fun_size_at: Option<usize>,
}

fn terms(words: &[u64], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    // The innermost apart, so that one level needs no allocation.
    let mut innermost: Option<Open> = None;
    let mut outer: Vec<Open> = Vec::new();
    let mut left = 1;
    let mut at = 0;
    loop {
        while left == 0 {
            let Some(closed) = innermost.take() else { return Ok(()) };
            innermost = outer.pop();
            left = closed.outer_left;
            match closed.fun_size_at {
                None => out.push(tag::NIL),
                Some(place) => {
                    let size = count32(out.len() - place)?;
                    out[place..place + 4].copy_from_slice(&size.to_be_bytes());
                }
            }
        }
        let first = words[at];
        left -= 1;
        let Some((kind, count)) = word::split_header(first) else {
            immediate(first, out)?;
            at += 1;
            continue;
        };
        let layout = Layout::of(kind, count).ok_or(EncodeError::TooLarge)?;
        let payload = &words[at + 1..at + 1 + layout.words];
        at += 1 + layout.words;
        match kind {
            Kind::Tuple if count < 256 => out.extend([tag::SMALL_TUPLE, count as u8]),
            Kind::Tuple => counted(tag::LARGE_TUPLE, count, out)?,
            Kind::ImproperList => counted(tag::LIST, count, out)?,
            Kind::Map => counted(tag::MAP, count, out)?,
            Kind::List => {
                counted(tag::LIST, count, out)?;
                outer.extend(innermost.replace(Open { outer_left: left, fun_size_at: None }));
                left = 0;
            }
            Kind::Fun => {
                out.push(tag::NEW_FUN);
                let place = out.len();
                fun(payload, count, out)?;
                let fun = Open { outer_left: left, fun_size_at: Some(place) };
                outer.extend(innermost.replace(fun));
                left = 0;
            }
            _ => flat(kind, count, payload, out)?,
        }
        left += layout.terms;
    }
}

fn count32(count: usize) -> Result<u32, EncodeError> {
    u32::try_from(count).map_err(|_| EncodeError::TooLarge)
}

fn counted(tag: u8, count: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let count = u32::try_from(count).map_err(|_| EncodeError::TooLarge)?;
    let [a, b, c, d] = count.to_be_bytes();
    out.extend_from_slice(&[tag, a, b, c, d]);
    Ok(())
}

fn immediate(word: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if word::is_small(word) {
        let value = word::small_value(word);
        if (0..256).contains(&value) {
            out.extend_from_slice(&[tag::SMALL_INTEGER, value as u8]);
        } else if let Ok(value) = i32::try_from(value) {
            let [a, b, c, d] = value.to_be_bytes();
            out.extend_from_slice(&[tag::INTEGER, a, b, c, d]);
        } else {
            big(value < 0, &[value.unsigned_abs()], out)?;
        }
    } else if word::is_atom(word) {
        atom(word, out);
    } else if word == word::NIL {
        out.push(tag::NIL);
    } else if word::is_local_pid(word) {
        let parts = atoms::vm().pid_to_parts(word);
        let node = atoms::vm().node();
        pid(node.name, node.creation, parts.id, parts.serial, out);
    } else {
        let node = atoms::vm().node();
        port(node.name, node.creation, atoms::vm().port_to_id(word), out);
    }
    Ok(())
}

fn atom(word: u64, out: &mut Vec<u8>) {
    let text = atoms::text(word).as_bytes();
    match u8::try_from(text.len()) {
        Ok(short) => out.extend_from_slice(&[tag::SMALL_ATOM_UTF8, short]),
        Err(_) => {
            // At most 255 characters of four bytes each.
            let [a, b] = (text.len() as u16).to_be_bytes();
            out.extend_from_slice(&[tag::ATOM_UTF8, a, b]);
        }
    }
    out.extend_from_slice(text);
}

fn pid(node: u64, creation: u32, id: u32, serial: u32, out: &mut Vec<u8>) {
    out.push(tag::NEW_PID);
    atom(node, out);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&serial.to_be_bytes());
    out.extend_from_slice(&creation.to_be_bytes());
}

fn port(node: u64, creation: u32, id: u64, out: &mut Vec<u8>) {
    out.push(tag::V4_PORT);
    atom(node, out);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&creation.to_be_bytes());
}

/// The terms that no other term is in.
fn flat(kind: Kind, count: u64, payload: &[u64], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match kind {
        Kind::Binary => {
            out.reserve(count as usize + 5);
            counted(tag::BINARY, count, out)?;
            append_bytes(payload, count as usize, out);
        }
        Kind::Bitstring => {
            let bytes = count.div_ceil(8);
            counted(tag::BIT_BINARY, bytes, out)?;
            out.push((count % 8) as u8);
            append_bytes(payload, bytes as usize, out);
        }
        Kind::BigPositive => big(false, payload, out)?,
        Kind::BigNegative => big(true, payload, out)?,
        Kind::Float => {
            out.push(tag::NEW_FLOAT);
            out.extend_from_slice(&payload[0].to_be_bytes());
        }
        Kind::Pid => {
            pid(payload[0], payload[1] as u32, payload[2] as u32, payload[3] as u32, out);
        }
        Kind::Port => port(payload[0], payload[1] as u32, payload[2], out),
        Kind::Reference => {
            let (node, creation) = if payload[0] == word::NIL {
                let node = atoms::vm().node();
                (node.name, node.creation)
            } else {
                (payload[0], payload[1] as u32)
            };
            let ids = &payload[2..];
            out.extend_from_slice(&[tag::NEWER_REFERENCE, 0, ids.len() as u8]);
            atom(node, out);
            out.extend_from_slice(&creation.to_be_bytes());
            for id in ids {
                out.extend_from_slice(&(*id as u32).to_be_bytes());
            }
        }
        Kind::Export => {
            out.push(tag::EXPORT);
            atom(payload[0], out);
            atom(payload[1], out);
            out.extend_from_slice(&[tag::SMALL_INTEGER, payload[2] as u8]);
        }
        Kind::Tuple | Kind::List | Kind::ImproperList | Kind::Map | Kind::Fun => {
            unreachable!("terms with terms in them are written by the caller")
        }
    }
    Ok(())
}

fn big(negative: bool, magnitude: &[u64], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let unused = magnitude.last().map_or(0, |last| last.leading_zeros() as usize / 8);
    let bytes = magnitude.len() * 8 - unused;
    match u8::try_from(bytes) {
        Ok(short) => out.extend_from_slice(&[tag::SMALL_BIG, short]),
        Err(_) => counted(tag::LARGE_BIG, bytes as u64, out)?,
    }
    out.push(u8::from(negative));
    append_bytes(magnitude, bytes, out);
    Ok(())
}

/// What comes between a fun's tag and its free variables; its size is filled in later.
fn fun(payload: &[u64], free: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let [module, arity, index, high, low, old] = payload else {
        unreachable!("a fun has {} fixed words", word::FUN_FIXED_WORDS)
    };
    let free = u32::try_from(free).map_err(|_| EncodeError::TooLarge)?;
    out.extend_from_slice(&[0; 4]);
    out.push(*arity as u8);
    out.extend_from_slice(&high.to_be_bytes());
    out.extend_from_slice(&low.to_be_bytes());
    out.extend_from_slice(&(*index as u32).to_be_bytes());
    out.extend_from_slice(&free.to_be_bytes());
    atom(*module, out);
    for part in [(old >> 32) as u32, *old as u32] {
        match u8::try_from(part) {
            Ok(short) => out.extend_from_slice(&[tag::SMALL_INTEGER, short]),
            Err(_) => {
                out.push(tag::INTEGER);
                out.extend_from_slice(&part.to_be_bytes());
            }
        }
    }
    // The creator is not kept; this stands for whoever it was.
    let node = atoms::vm().node();
    pid(node.name, node.creation, 0, 0, out);
    Ok(())
}
