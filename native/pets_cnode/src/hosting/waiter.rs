//! Operations from BEAM nodes that do not host the table: ordinary Erlang messages.
//!
//! A process sends `{Table, From, Ref, Operation, Arguments}` to `{partitioned_ets, CNode}`: the
//! table and the operation as atoms, the arguments as a tuple without the table, and gets
//! `{Ref, {ok, Result}}`, `{Ref, {badarg, Cause}}` or `{Ref, {error, Reason}}`. The operation is
//! carried out wherever its slot is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pets_core::table::op::OpCode;
use pets_core::term::atoms;
use pets_core::term::etf::{self, Limits};
use pets_core::term::walk::Elements;
use pets_core::term::word::{self, Kind};

use super::Hosting;
use super::sink::{Outcome, Reason, Sink};
use super::work::{Origin, Work};
use crate::ErlangReplier;

/// How long an operation may wait for its slot; the sender decides how long itself waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process on another node that waits for an answer.
pub(super) struct Waiter {
    reply: ErlangReplier,
    /// Pid and reference, in external format.
    from: Vec<u8>,
    reference: Vec<u8>,
}

impl Waiter {
    pub(super) fn answer(self, outcome: Outcome<'_>) {
        // {Ref, {Kind, Value}}, tuples of two with their one-byte arity.
        let mut message = vec![SMALL_TUPLE, 2];
        message.extend_from_slice(&self.reference);
        message.extend([SMALL_TUPLE, 2]);
        let start = message.len();
        let written = match outcome {
            Outcome::Done(words) => {
                push_atom(&mut message, "ok");
                etf::encode(words, &mut message).is_ok()
            }
            Outcome::BadArgument(cause) => {
                push_atom(&mut message, "badarg");
                push_atom(&mut message, cause.name());
                true
            }
            Outcome::Failed(failure) => {
                push_error(&mut message, failure.reason);
                true
            }
        };
        if !written {
            message.truncate(start);
            push_error(&mut message, Reason::TooLarge);
        }
        // A process that is gone, or whose node does not take its messages, gets nothing.
        let _ = self.reply.send(&self.from, &message);
    }
}

const SMALL_TUPLE: u8 = 104;
const SMALL_ATOM_UTF8: u8 = 119;

fn push_atom(out: &mut Vec<u8>, name: &str) {
    out.extend([SMALL_ATOM_UTF8, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
}

fn push_error(out: &mut Vec<u8>, reason: Reason) {
    push_atom(out, "error");
    push_atom(out, reason.name());
}

impl<S: Sink> Hosting<S> {
    /// A message to the registered name; one that is no operation is dropped with a warning.
    pub(super) fn serve_erlang_message(self: &Arc<Self>, message: &[u8], reply: ErlangReplier) {
        let mut words = Vec::new();
        let parsed = match etf::decode(message, &mut words, &Limits::default()) {
            Ok(_) => parse(&words),
            Err(_) => None,
        };
        let Some((table, from, reference, op, args)) = parsed else {
            return self.warn("an Erlang message that is no operation was dropped");
        };
        let mut waiter = Waiter { reply, from: Vec::new(), reference: Vec::new() };
        if etf::encode(from, &mut waiter.from).is_err()
            || etf::encode(reference, &mut waiter.reference).is_err()
        {
            return;
        }
        let Some(table) = self.table(table) else {
            return waiter
                .answer(Outcome::Failed(super::Failure { reason: Reason::NoTable, node: None }));
        };
        let now = Instant::now();
        let work = Work {
            table,
            op,
            args: args.to_vec(),
            origin: Origin::Erlang(waiter),
            deadline: now + PATIENCE,
            addressed: None,
            under: None,
            hops: 0,
        };
        self.begin(work, now);
    }
}

type Parsed<'a> = (&'static str, &'a [u64], &'a [u64], OpCode, &'a [u64]);

fn parse(words: &[u64]) -> Option<Parsed<'_>> {
    let mut elements = Elements::of(words);
    let mut next = || elements.next();
    let (table, from, reference, op, args) = (next()?, next()?, next()?, next()?, next()?);
    let is_pid =
        word::is_local_pid(from[0]) || matches!(word::split_header(from[0]), Some((Kind::Pid, _)));
    let is_tuple = matches!(word::split_header(args[0]), Some((Kind::Tuple, _)));
    if next().is_some() || !word::is_atom(table[0]) || !word::is_atom(op[0]) || !is_pid || !is_tuple
    {
        return None;
    }
    let op = OpCode::from_name(atoms::text(op[0]))?;
    Some((atoms::text(table[0]), from, reference, op, args))
}
