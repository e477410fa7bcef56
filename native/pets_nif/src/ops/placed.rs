//! Operations on tables whose keys are placed by a callback, and the views of such tables.

use pets_cnode::hosting::{Outcome, Phase, Under};
use pets_core::placement::NodeName;
use pets_core::table::op::{OpCode, OpError, execute};
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::Table;
use crate::atoms;
use crate::caller::sending;
use crate::hosting;
use crate::ops::call::{begin, no_table, op_code};
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry;
use crate::scratch::{WORDS_PER_CALL, encode_argument, with_buffer};
use crate::sink::outcome_term;

// Who changes a view waits for the operations that are being carried out.
nifs! {
    placed_call/8 => call;
    view_close/2 as dirty => close;
    view_open/2 as dirty => open;
    view_state/1 => state;
}

/// `table, node | nil, version, phase, operation, arguments, reference, timeout_ms`: as
/// `call_node`, under a view; without a node on this one, and on the spot if its view is there.
fn call(env: Env, args: &[Term]) -> Answer {
    let [table, node, version, phase, op, arguments, reference, timeout] = *args else {
        return env.bad_argument().into();
    };
    let name = table;
    let Some(table) = registry::get(name) else { return no_table(env, name).into() };
    let text = |term: Term| word::is_atom(term.0).then(|| texts::text(term.0));
    let number = |term| env.integer_value(term).and_then(|n| u64::try_from(n).ok());
    let (Some(node_text), Some(op), Some(phase), Some(version), Some(timeout_ms)) =
        (text(node), op_code(op), text(phase).and_then(phase_of), number(version), number(timeout))
    else {
        return env.bad_argument().into();
    };
    let under = Under { version, phase };
    let mut words = Vec::new();
    if let Err(answer) = encode_argument(env, arguments, &mut words) {
        return answer;
    }
    let is_here = node == atoms::get().nil;
    if is_here && let Some(answer) = on_the_spot(env, &table, under, op, &words) {
        return answer;
    }
    let node = (!is_here).then(|| NodeName::from(node_text));
    begin(env, table.hosted(), node, Some(under), op, words, timeout_ms, reference).into()
}

fn phase_of(name: &str) -> Option<Phase> {
    match name {
        "open" => Some(Phase::Open),
        "closed" => Some(Phase::Closed),
        _ => None,
    }
}

/// `{:done, outcome}` if the view is the one that is needed. Nothing has been done otherwise.
fn on_the_spot(env: Env, table: &Table, under: Under, op: OpCode, args: &[u64]) -> Option<Answer> {
    if op == OpCode::InsertMany && under.phase == Phase::Closed {
        // Means a merge there, which is the hosting's.
        return None;
    }
    let execute_now = |op, out: &mut Vec<u64>| {
        table.hosted().run_under(under, || execute(table.core(), op, args, out))
    };
    let is_large = |out: &[u64]| out.len() > WORDS_PER_CALL && !Env::on_dirty_scheduler();
    with_buffer(|out| {
        // What is taken has to be decoded here: a large object waits for a dirty scheduler.
        if op == OpCode::Take && !Env::on_dirty_scheduler() {
            let _ = execute_now(OpCode::Lookup, out)?;
            if is_large(out) {
                return Some(Answer::Dirty);
            }
            out.clear();
        }
        let outcome = match execute_now(op, out)? {
            Ok(()) if is_large(out) && !op.writes() => return Some(Answer::Dirty),
            Ok(()) => Outcome::Done(out),
            Err(OpError::BadArgument(cause)) => Outcome::BadArgument(cause),
            Err(OpError::Unserved(_) | OpError::TooLarge) => return None,
        };
        Some(env.tuple(&[atoms::get().done, outcome_term(env, outcome)]).into())
    })
}

/// The table and the version in the first two arguments.
fn view_change(
    env: Env,
    args: &[Term],
    change: impl FnOnce(&std::sync::Arc<Table>, u64) -> Term,
) -> Term {
    let version = env.integer_value(args[1]).and_then(|version| u64::try_from(version).ok());
    match (registry::get(args[0]), version) {
        (Some(table), Some(version)) if table.placed_by_callback() => {
            sending(env, || change(&table, version))
        }
        _ => env.bad_argument(),
    }
}

/// `name, version`
fn close(env: Env, args: &[Term]) -> Term {
    view_change(env, args, |table, version| {
        table.hosted().close_view(hosting(), version);
        atoms::get().ok
    })
}

/// `name, version`: whether that is still the present one.
fn open(env: Env, args: &[Term]) -> Term {
    view_change(env, args, |table, version| {
        atoms::boolean(table.hosted().open_view(hosting(), version))
    })
}

/// `{version, open?}`, or nil for a table that is not here or not placed by a callback.
fn state(env: Env, args: &[Term]) -> Term {
    match registry::get(args[0]).filter(|table| table.placed_by_callback()) {
        Some(table) => {
            let view = table.hosted().view();
            let is_open = atoms::boolean(view.phase == Phase::Open);
            env.tuple(&[env.integer(view.version as i64), is_open])
        }
        None => atoms::get().nil,
    }
}
