//! Operations wherever their slot is: the caller is told to wait, or answered on the spot.

use std::time::Duration;

use pets_cnode::hosting::CallNumber;
use pets_core::placement::NodeName;
use pets_core::table::op::OpCode;
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::atoms;
use crate::caller::{Caller, sending};
use crate::hosting;
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry;
use crate::scratch::encode_argument;

nifs! {
    call_start/5 => start;
    call_node/6 => start_on_node;
    call_cancel/1 => cancel;
}

/// `table, operation, arguments, reference, timeout_ms`
fn start(env: Env, args: &[Term]) -> Answer {
    match *args {
        [table, op, arguments, reference, timeout] => {
            submit(env, table, None, op, arguments, reference, timeout)
        }
        _ => env.bad_argument().into(),
    }
}

/// `table, node, operation, arguments, reference, timeout_ms`
fn start_on_node(env: Env, args: &[Term]) -> Answer {
    match *args {
        [table, node, op, arguments, reference, timeout] if word::is_atom(node.0) => {
            let node = NodeName::from(texts::text(node.0));
            submit(env, table, Some(node), op, arguments, reference, timeout)
        }
        _ => env.bad_argument().into(),
    }
}

/// The number of a call whose outcome comes as `{reference, outcome}`, or `{:done, outcome}`.
fn submit(
    env: Env,
    table: Term,
    node: Option<NodeName>,
    op: Term,
    arguments: Term,
    reference: Term,
    timeout: Term,
) -> Answer {
    let atoms = atoms::get();
    let Some(table) = registry::get(table) else {
        let cause = if word::is_atom(table.0) { atoms.id } else { atoms.r#type };
        return env.tuple(&[atoms.done, env.tuple(&[atoms.badarg, cause])]).into();
    };
    let Some(op) = Some(op).filter(|op| word::is_atom(op.0)).map(|op| texts::text(op.0)) else {
        return env.bad_argument().into();
    };
    let Some(op) = OpCode::from_name(op) else { return env.bad_argument().into() };
    let Some(patience) = env.integer_value(timeout).and_then(|ms| u64::try_from(ms).ok()) else {
        return env.bad_argument().into();
    };
    let mut words = Vec::new();
    if let Err(answer) = encode_argument(env, arguments, &mut words) {
        return answer;
    }
    let caller = Caller::new(env, reference);
    let patience = Duration::from_millis(patience);
    let CallNumber(number) =
        sending(env, || hosting().submit(table.hosted(), node, None, op, words, patience, caller));
    env.integer(number as i64).into()
}

/// Whether nothing will come for this call any more.
fn cancel(env: Env, args: &[Term]) -> Term {
    match env.integer_value(args[0]) {
        Some(number) => atoms::boolean(hosting().cancel(CallNumber(number as u64))),
        None => env.bad_argument(),
    }
}
