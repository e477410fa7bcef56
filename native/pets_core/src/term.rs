//! Erlang terms as flat sequences of 64-bit words.
//!
//! A term is stored as the words that [`word`] describes, self-delimiting and without pointers:
//! an immediate is one word, everything else a header followed by its payload. Two terms are
//! `=:=` exactly when their words are equal, so that keys compare like memory.
//!
//! * [`word`]: the layout, and constructors for single words
//! * [`atoms`]: what the words of atoms stand for: text, and a hash that is the same on every node
//! * [`order`]: Erlang's term order and `==` over encoded terms
//! * [`hash`]: the portable hash that places keys into slots
//! * [`etf`]: to and from the external term format, for the wire and for files

pub mod atoms;
pub mod etf;
pub mod hash;
pub mod order;
pub mod walk;
pub mod word;
