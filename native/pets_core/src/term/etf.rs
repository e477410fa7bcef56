//! To and from the external term format, for the wire and for files.
//!
//! [`encode`](fn@encode) writes what `term_to_binary/1` would, but for the order of a map's pairs and for
//! lists of bytes, which it does not turn into strings. [`decode`](fn@decode) reads everything that
//! OTP 26 or later writes, and most of what came before, into the same words that the VM binding
//! makes of the term itself.
//!
//! Bytes are never trusted. Every count is held against the bytes that are left before anything is
//! reserved for it, nesting uses the heap, atoms are made within a budget, and a refused term
//! leaves nothing behind. Compressed terms are refused: what they would grow to is the sender's
//! choice.

mod decode;
mod encode;

pub use decode::{DecodeError, Limits, decode, decode_versioned};
pub use encode::{EncodeError, encode, encode_versioned};

/// The byte that a versioned term starts with.
pub const VERSION: u8 = 131;

mod tag {
    pub(super) const NEW_FLOAT: u8 = 70;
    pub(super) const BIT_BINARY: u8 = 77;
    pub(super) const COMPRESSED: u8 = 80;
    pub(super) const NEW_PID: u8 = 88;
    pub(super) const NEW_PORT: u8 = 89;
    pub(super) const NEWER_REFERENCE: u8 = 90;
    pub(super) const SMALL_INTEGER: u8 = 97;
    pub(super) const INTEGER: u8 = 98;
    pub(super) const FLOAT: u8 = 99;
    pub(super) const ATOM: u8 = 100;
    pub(super) const REFERENCE: u8 = 101;
    pub(super) const PORT: u8 = 102;
    pub(super) const PID: u8 = 103;
    pub(super) const SMALL_TUPLE: u8 = 104;
    pub(super) const LARGE_TUPLE: u8 = 105;
    pub(super) const NIL: u8 = 106;
    pub(super) const STRING: u8 = 107;
    pub(super) const LIST: u8 = 108;
    pub(super) const BINARY: u8 = 109;
    pub(super) const SMALL_BIG: u8 = 110;
    pub(super) const LARGE_BIG: u8 = 111;
    pub(super) const NEW_FUN: u8 = 112;
    pub(super) const EXPORT: u8 = 113;
    pub(super) const NEW_REFERENCE: u8 = 114;
    pub(super) const SMALL_ATOM: u8 = 115;
    pub(super) const MAP: u8 = 116;
    pub(super) const ATOM_UTF8: u8 = 118;
    pub(super) const SMALL_ATOM_UTF8: u8 = 119;
    pub(super) const V4_PORT: u8 = 120;
}
