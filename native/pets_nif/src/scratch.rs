//! Encoded arguments, in buffers that a thread uses again and again.

use std::cell::Cell;

use crate::encode::{self, Refused};
use crate::raw::{Answer, Env, Term};

/// Words that a normal scheduler encodes or decodes in one call: well under a millisecond of work.
pub(crate) const WORDS_PER_CALL: usize = 32 * 1024;

/// A buffer larger than this is given back rather than kept for the next call.
const KEPT_WORDS: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer; nested calls get one of their own.
#[inline]
pub(crate) fn with_buffer<R>(work: impl FnOnce(&mut Vec<u64>) -> R) -> R {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT_WORDS {
        BUFFER.set(buffer);
    }
    result
}

/// Appends the encoding of an argument to `out`.
///
/// # Errors
/// The answer to give instead: the call again on a dirty scheduler for a term that is too large
/// for this one, `badarg` for one that cannot be stored.
#[inline]
pub(crate) fn encode_argument(env: Env, term: Term, out: &mut Vec<u64>) -> Result<(), Answer> {
    let start = out.len();
    match encode::encode(env, term, out, start + WORDS_PER_CALL) {
        Ok(()) => Ok(()),
        Err(Refused::TooLarge) if !Env::on_dirty_scheduler() => Err(Answer::Dirty),
        Err(Refused::TooLarge) => {
            out.truncate(start);
            encode::encode(env, term, out, usize::MAX).map_err(|_| env.bad_argument().into())
        }
        Err(Refused::Unsupported) => Err(env.bad_argument().into()),
    }
}
