//! For the tests of the library itself.

use std::cmp::Ordering;

use pets_core::term::order;

use crate::atoms;
use crate::build::build_counted;
use crate::decode::{Known, decode, decode_by_interface};
use crate::encode::encode_by_interface;
use crate::heap;
use crate::raw::{Answer, Env, Term, nifs};
use crate::scratch::encode_argument;

nifs! {
    debug_panic/0 => panics;
    debug_roundtrip/1 => roundtrip;
    debug_roundtrip/2 as dirty => roundtrip_by;
    debug_compare/2 => compare;
}

fn panics(_env: Env, _args: &[Term]) -> Term {
    // As `panic!` does, but without a line on the standard error of every test run.
    std::panic::resume_unwind(Box::new("asked to"));
}

/// The term, encoded and decoded.
fn roundtrip(env: Env, args: &[Term]) -> Answer {
    let mut words = Vec::new();
    match encode_argument(env, args[0], &mut words) {
        Ok(()) => decode(env, words.as_slice(), 0, None).into(),
        Err(answer) => answer,
    }
}

/// The same, encoded through the interface and decoded by one of two ways: 0 straight onto the heap, the
/// words counted first, where the term can be written there; 1 through the interface.
fn roundtrip_by(env: Env, args: &[Term]) -> Answer {
    let mut words = Vec::new();
    if encode_by_interface(env, args[0], &mut words, usize::MAX).is_err() {
        return env.bad_argument().into();
    }
    let words = words.as_slice();
    let counted = match (env.integer_value(args[1]), heap::layout()) {
        (Some(0), Some(layout)) => build_counted(layout, env, words, 0, &Known::NOTHING, false),
        (Some(0 | 1), _) => None,
        _ => return env.bad_argument().into(),
    };
    counted.unwrap_or_else(|| decode_by_interface(env, words, 0, None)).into()
}

/// `{order, ==, =:=}` of two terms over their encodings; the order is -1, 0 or 1.
fn compare(env: Env, args: &[Term]) -> Answer {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (term, words) in [(args[0], &mut left), (args[1], &mut right)] {
        if let Err(answer) = encode_argument(env, term, words) {
            return answer;
        }
    }
    let order = match order::cmp(&left, &right) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    };
    let equal = atoms::boolean(order::eq_loose(&left, &right));
    env.tuple(&[env.integer(order), equal, atoms::boolean(left == right)]).into()
}
