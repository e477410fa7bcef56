//! Operations wherever their slot is: the caller is told to wait, or answered on the spot.

use std::sync::Arc;
use std::time::Duration;

use pets_cnode::hosting::{CallNumber, Hosted, Under};
use pets_core::epoch;
use pets_core::placement::NodeName;
use pets_core::table::op::OpCode;
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::atoms;
use crate::caller::{Caller, sending};
use crate::courier;
use crate::hosting;
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry;
use crate::scratch::encode_argument;
use crate::sink::Sink;

nifs! {
    call_start/4 => start;
    call_node/5 => start_on_node;
    call_cancel/1 => cancel;
    courier_attach/1 => attach;
    courier_deliver/0 => deliver;
}

/// `table, operation, arguments, reference`
fn start(env: Env, args: &[Term]) -> Answer {
    match *args {
        [table, op, arguments, reference] => submit(env, table, None, op, arguments, reference),
        _ => env.bad_argument().into(),
    }
}

/// `table, node, operation, arguments, reference`
fn start_on_node(env: Env, args: &[Term]) -> Answer {
    match *args {
        [table, node, op, arguments, reference] if word::is_atom(node.0) => {
            let node = NodeName::from(texts::text(node.0));
            submit(env, table, Some(node), op, arguments, reference)
        }
        _ => env.bad_argument().into(),
    }
}

/// `{number, timeout_ms}` of a call whose outcome comes as `{reference, outcome}`, or
/// `{:done, outcome}`.
fn submit(
    env: Env,
    table: Term,
    node: Option<NodeName>,
    op: Term,
    arguments: Term,
    reference: Term,
) -> Answer {
    let (hosted, timeout_ms) = {
        let guard = epoch::pin();
        match registry::find(table, &guard) {
            Some(table) => (Arc::clone(table.hosted()), table.timeout_ms.max(0) as u64),
            None => return no_table(env, table).into(),
        }
    };
    let Some(op) = op_code(op) else { return env.bad_argument().into() };
    let mut words = Vec::new();
    match encode_argument(env, arguments, &mut words) {
        Ok(()) => begin(env, &hosted, node, None, op, words, timeout_ms, reference).into(),
        Err(answer) => answer,
    }
}

/// Begins a call; `{number, timeout_ms}`.
#[expect(clippy::too_many_arguments, reason = "these are what makes an operation")]
pub(super) fn begin(
    env: Env,
    hosted: &Arc<Hosted<Sink>>,
    node: Option<NodeName>,
    under: Option<Under>,
    op: OpCode,
    args: Vec<u64>,
    timeout_ms: u64,
    reference: Term,
) -> Term {
    let caller = Caller::new(env, reference);
    let patience = Duration::from_millis(timeout_ms);
    let CallNumber(number) =
        sending(env, || hosting().submit(hosted, node, under, op, args, patience, caller));
    env.tuple(&[env.integer(number as i64), env.integer(timeout_ms as i64)])
}

/// The outcome of an operation on a table that is not here.
pub(super) fn no_table(env: Env, name: Term) -> Term {
    let atoms = atoms::get();
    env.tuple(&[atoms.done, env.tuple(&[atoms.badarg, no_table_cause(name)])])
}

/// Why there is no such table: it is not here, or this is no name.
pub(super) fn no_table_cause(name: Term) -> Term {
    let atoms = atoms::get();
    if word::is_atom(name.0) { atoms.id } else { atoms.r#type }
}

/// The operation that an atom names.
pub(super) fn op_code(name: Term) -> Option<OpCode> {
    word::is_atom(name.0).then(|| texts::text(name.0)).and_then(OpCode::from_name)
}

/// Whether nothing will come for this call any more.
fn cancel(env: Env, args: &[Term]) -> Term {
    match env.integer_value(args[0]) {
        Some(number) => atoms::boolean(hosting().cancel(CallNumber(number as u64))),
        None => env.bad_argument(),
    }
}

/// The process that sends answers on from now on, when it gets `:deliver`.
fn attach(env: Env, args: &[Term]) -> Term {
    let Some(pid) = env.local_pid(args[0]) else { return env.bad_argument() };
    courier::attach(pid);
    atoms::get().ok
}

/// Sends some of the answers; whether there are more.
fn deliver(env: Env, _args: &[Term]) -> Term {
    atoms::boolean(sending(env, courier::send_some))
}
