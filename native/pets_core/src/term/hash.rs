//! The portable hash of encoded terms: the same on every node, OTP release and architecture.
//!
//! It places a key into a slot by its top 12 bits and within the slot by the bits that follow, so
//! all bits have to be good ones. What differs from process to process is replaced before it is
//! hashed: an atom by the hash of its text, a local pid or port by its numbers, and a map's pairs
//! are summed, because their order goes by atom indices. Pids, ports and references count by
//! their numbers alone, not by their node: a node gets its name when it becomes distributed, and
//! the keys that it has by then must stay where they are.
//!
//! The mixer multiplies two words into 128 bits and folds the halves (as wyhash and foldhash do).
//! There is no secret in it: who may choose keys may choose colliding ones.

use super::atoms;
use super::walk::Layout;
use super::word::{self, Kind};

// Digits of pi, made odd: no structure of their own.
const K0: u64 = 0x243F_6A88_85A3_08D3;
const K1: u64 = 0x1319_8A2E_0370_7345;
const K2: u64 = 0xA409_3822_299F_31D1;
const K3: u64 = 0x082E_FA98_EC4E_6C89;
const K4: u64 = 0x4528_21E6_38D0_1377;
const K5: u64 = 0xBE54_66CF_34E9_0C6D;
const K6: u64 = 0xC0AC_29B7_C97C_50DD;
const K7: u64 = 0x3F84_D5B5_B547_0917;

// What tells pids and ports from other terms with the same numbers.
const PID: u64 = word::header(Kind::Pid, 4);
const PORT: u64 = word::header(Kind::Port, 3);

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// 0 marks an empty cell in a table.
#[inline(always)]
fn nonzero(hash: u64) -> u64 {
    hash + u64::from(hash == 0)
}

#[inline(always)]
fn immediate(word: u64) -> u64 {
    nonzero(fold(fold(word ^ K0, K1), K2))
}

/// The hash of a term that agrees with `=:=`. Never 0.
///
/// # Panics
/// When `words` does not start with a whole term.
#[inline]
pub fn hash_exact(words: &[u64]) -> u64 {
    hash(words, true)
}

/// The hash of a term that agrees with `==`, as the key of an `ordered_set` needs it: numbers that
/// are equal count as one, except in the keys of maps. Never 0.
///
/// # Panics
/// When `words` does not start with a whole term.
#[inline]
pub fn hash_loose(words: &[u64]) -> u64 {
    hash(words, false)
}

#[inline]
pub(crate) fn hash(words: &[u64], exact: bool) -> u64 {
    let first = words[0];
    if word::is_small(first) {
        immediate(first)
    } else if word::is_atom(first) {
        atoms::hash(first)
    } else if first & 0xFF == word::header(Kind::Binary, 0) {
        binary(words)
    } else {
        compound(words, exact)
    }
}

/// The hash of bytes that are no term, such as the text of an atom. Never 0.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut state = K6 ^ bytes.len() as u64;
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), K7);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        state = fold(state ^ u64::from_le_bytes(last), K7);
    }
    nonzero(fold(state ^ K5, K4))
}

/// A map whose pairs are being hashed.
struct OpenMap {
    sum: u64,
    pairs_left: u64,
    in_key: bool,
    outer_state: u64,
    outer_left: usize,
    outer_exact: bool,
}

fn binary(words: &[u64]) -> u64 {
    let end = 1 + word::words_for_bytes((words[0] >> 8) as usize);
    leaf(words[0], &words[1..end])
}

fn compound(words: &[u64], exact: bool) -> u64 {
    if let Some((kind, _)) = word::split_header(words[0]) {
        match kind {
            Kind::Tuple | Kind::List | Kind::ImproperList | Kind::Map | Kind::Fun => {}
            Kind::Float if !exact => {
                return match small_integer(f64::from_bits(words[1])) {
                    Some(small) => immediate(small),
                    None => loose_float(words[1]),
                };
            }
            _ => return token(words, kind, exact),
        }
    } else {
        return immediate_token(words[0]);
    }
    nested(words, exact)
}

fn nested(words: &[u64], mut exact: bool) -> u64 {
    // The innermost map apart, so that maps that are in no other map need no allocation.
    let mut innermost: Option<OpenMap> = None;
    let mut outer: Vec<OpenMap> = Vec::new();
    let mut state = K3;
    let mut left = 1;
    let mut at = 0;
    loop {
        while left == 0 {
            let Some(map) = &mut innermost else { return nonzero(fold(state ^ K5, K6)) };
            if map.in_key {
                map.in_key = false;
                exact = map.outer_exact;
                left = 1;
                continue;
            }
            map.sum = map.sum.wrapping_add(fold(state ^ K4, K2));
            map.pairs_left -= 1;
            if map.pairs_left > 0 {
                map.in_key = true;
                exact = true;
                state = K7;
                left = 1;
            } else {
                state = absorb(map.outer_state, map.sum);
                left = map.outer_left;
                exact = map.outer_exact;
                innermost = outer.pop();
            }
        }
        left -= 1;
        let first = words[at];
        let Some((kind, count)) = word::split_header(first) else {
            let token = if word::is_small(first) { first } else { immediate_token(first) };
            state = absorb(state, token);
            at += 1;
            continue;
        };
        let layout = Layout::of(kind, count).expect("an encoded term fits into memory");
        match kind {
            Kind::Tuple | Kind::List | Kind::ImproperList => state = absorb(state, first),
            Kind::Map => {
                state = absorb(state, first);
                if count > 0 {
                    let map = OpenMap {
                        sum: 0,
                        pairs_left: count,
                        in_key: true,
                        outer_state: state,
                        outer_left: left,
                        outer_exact: exact,
                    };
                    outer.extend(innermost.replace(map));
                    state = K7;
                    exact = true;
                    left = 1;
                    at += 1;
                    continue;
                }
            }
            _ => state = absorb(state, token(&words[at..], kind, exact)),
        }
        left += layout.terms;
        at += 1 + layout.words;
    }
}

#[inline(always)]
fn absorb(state: u64, token: u64) -> u64 {
    // The multiplier is odd and the state is turned, so that no token takes the state to a fixed
    // value, which a product of two variable words could.
    fold(state ^ token, K1).wrapping_add(state.rotate_left(23))
}

/// What an immediate other than a small integer counts as.
fn immediate_token(word: u64) -> u64 {
    if word::is_atom(word) {
        return atoms::hash(word);
    }
    if word::is_local_pid(word) {
        let parts = atoms::vm().pid_to_parts(word);
        return leaf(PID, &[u64::from(parts.id), u64::from(parts.serial)]);
    }
    if word::is_local_port(word) {
        return leaf(PORT, &[atoms::vm().port_to_id(word)]);
    }
    immediate(word)
}

/// What the header that `words` starts with and its payload count as; the terms of a fun apart.
fn token(words: &[u64], kind: Kind, exact: bool) -> u64 {
    let (header, payload) = (words[0], &words[1..]);
    match kind {
        Kind::Float if !exact => loose_float(payload[0]),
        Kind::Binary | Kind::Bitstring | Kind::BigPositive | Kind::BigNegative | Kind::Float => {
            let count = header >> 8;
            let layout = Layout::of(kind, count).expect("an encoded term fits into memory");
            leaf(header, &payload[..layout.words])
        }
        Kind::Pid => leaf(PID, &payload[2..4]),
        Kind::Port => leaf(PORT, &payload[2..3]),
        Kind::Reference => leaf(header, &payload[2..(header >> 8) as usize]),
        Kind::Export => {
            leaf(header, &[atoms::hash(payload[0]), atoms::hash(payload[1]), payload[2]])
        }
        Kind::Fun => {
            // `==` looks at module, index and old unique value only.
            let [arity, high, low] = match exact {
                true => [payload[1], payload[3], payload[4]],
                false => [0; 3],
            };
            let old_uniq = payload[5] & 0xFFFF_FFFF;
            leaf(header, &[atoms::hash(payload[0]), payload[2], old_uniq, arity, high, low])
        }
        Kind::Tuple | Kind::List | Kind::ImproperList | Kind::Map => header,
    }
}

/// The word of the small integer that is equal to this float, if there is one.
fn small_integer(value: f64) -> Option<u64> {
    let limit = -(word::SMALL_MIN as f64);
    let small = value.trunc() == value && -limit <= value && value < limit;
    small.then(|| word::small(value as i64))
}

/// What a float counts as where it may equal an integer: as that integer does.
fn loose_float(bits: u64) -> u64 {
    let value = f64::from_bits(bits);
    if let Some(small) = small_integer(value) {
        return small;
    }
    if value.trunc() != value {
        return leaf(word::header(Kind::Float, 1), &[bits]);
    }
    // Beyond 2^59 each float is mantissa times a power of two.
    let exponent = (bits >> 52 & 0x7FF) as usize - 1075;
    let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let mut magnitude = [0; 17];
    let shifted = mantissa << (exponent % 64);
    magnitude[exponent / 64] = shifted as u64;
    magnitude[exponent / 64 + 1] = (shifted >> 64) as u64;
    let used = magnitude.iter().rposition(|part| *part != 0).map_or(0, |last| last + 1);
    let kind = if value < 0.0 { Kind::BigNegative } else { Kind::BigPositive };
    leaf(word::header(kind, used as u64), &magnitude[..used])
}

/// Header and payload, mixed for good.
#[inline]
fn leaf(header: u64, payload: &[u64]) -> u64 {
    let mut state = header ^ K4;
    let mut rest = payload;
    if payload.len() >= 16 {
        // Four independent lanes keep the multiplier busy.
        let mut lanes = [state, state ^ K5, state ^ K6, state ^ K7];
        let (blocks, tail) = payload.as_chunks::<8>();
        for block in blocks {
            lanes[0] = fold(block[0] ^ lanes[0], block[1] ^ K0);
            lanes[1] = fold(block[2] ^ lanes[1], block[3] ^ K1);
            lanes[2] = fold(block[4] ^ lanes[2], block[5] ^ K2);
            lanes[3] = fold(block[6] ^ lanes[3], block[7] ^ K3);
        }
        state = fold(lanes[0] ^ K1, lanes[1].rotate_left(17) ^ K2)
            .wrapping_add(fold(lanes[2] ^ K3, lanes[3].rotate_left(17) ^ K4));
        rest = tail;
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    for [a, b] in pairs {
        state = fold(a ^ state, b ^ K0);
    }
    if let [last] = odd {
        state = fold(last ^ state, K1);
    }
    // Turned, so that it does not cancel out where there is no payload.
    nonzero(fold(state ^ header.rotate_left(29), K2))
}
