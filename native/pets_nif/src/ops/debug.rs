//! For the tests of the library itself.

use std::cmp::Ordering;

use pets_core::term::order;

use crate::atoms;
use crate::decode::decode;
use crate::raw::{Answer, Env, Term, nifs};
use crate::scratch::encode_argument;

nifs! {
    debug_panic/0 => panics;
    debug_roundtrip/1 => roundtrip;
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
