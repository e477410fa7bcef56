//! Answers and notices of the hosting, as messages to processes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pets_cnode::Level;
use pets_cnode::hosting::{self, Failure, Happened, Outcome};
use pets_core::ownership::Notice;
use pets_core::table::op::Cause;
use rustler::sys::ErlNifPid;

use crate::atoms;
use crate::caller::{self, Caller};
use crate::courier;
use crate::decode::decode;
use crate::raw::{Env, Term};

/// Who hears of what.
pub(crate) struct Sink {
    /// Subscribers by table.
    subscribers: Mutex<HashMap<String, Vec<ErlNifPid>>>,
    /// The process that logs what it is told.
    logger: Mutex<Option<ErlNifPid>>,
    /// What may still be logged: anybody who can reach the port can cause warnings.
    budget: Mutex<LogBudget>,
}

/// Warnings that are passed on in one [`LOG_WINDOW`]; the others are counted.
const LOGGED: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(10);

struct LogBudget {
    begun: Instant,
    messages: u32,
}

impl LogBudget {
    /// Whether one more message may be logged, and how many were not in the window that has
    /// just ended.
    fn take(&mut self) -> (bool, u32) {
        let mut left_out = 0;
        if self.begun.elapsed() >= LOG_WINDOW {
            left_out = self.messages.saturating_sub(LOGGED);
            *self = LogBudget { begun: Instant::now(), messages: 0 };
        }
        self.messages += 1;
        (self.messages <= LOGGED, left_out)
    }
}

// SAFETY: a pid is a word that may be used from any thread.
unsafe impl Send for Sink {}
// SAFETY: as above; both fields are behind locks.
unsafe impl Sync for Sink {}

impl Sink {
    pub(crate) fn new() -> Self {
        Sink {
            subscribers: Mutex::new(HashMap::new()),
            logger: Mutex::new(None),
            budget: Mutex::new(LogBudget { begun: Instant::now(), messages: 0 }),
        }
    }

    pub(crate) fn set_logger(&self, pid: ErlNifPid) {
        *self.logger.lock() = Some(pid);
    }

    pub(crate) fn subscribe(&self, table: &str, pid: ErlNifPid) {
        let mut subscribers = self.subscribers.lock();
        let pids = subscribers.entry(table.to_owned()).or_default();
        if !pids.iter().any(|known| same(known, &pid)) {
            pids.push(pid);
        }
    }

    pub(crate) fn unsubscribe(&self, table: &str, pid: ErlNifPid) {
        let mut subscribers = self.subscribers.lock();
        if let Some(pids) = subscribers.get_mut(table) {
            pids.retain(|known| !same(known, &pid));
            if pids.is_empty() {
                subscribers.remove(table);
            }
        }
    }

    /// The table is gone, and nobody hears of it any more.
    pub(crate) fn forget(&self, table: &str) {
        self.subscribers.lock().remove(table);
    }
}

fn same(a: &ErlNifPid, b: &ErlNifPid) -> bool {
    // SAFETY: both are pids that the VM filled in.
    unsafe { rustler::sys::enif_compare_pids(a, b) == 0 }
}

impl hosting::Sink for Sink {
    type Caller = Caller;

    fn deliver(&self, caller: Caller, outcome: Outcome<'_>) {
        courier::deliver(caller, outcome);
    }

    fn together(&self, work: &mut dyn FnMut()) {
        courier::together(work);
    }

    fn notify(&self, table: &str, happened: Happened) {
        let pids = match self.subscribers.lock().get(table) {
            Some(pids) => pids.clone(),
            None => return,
        };
        for pid in pids {
            caller::notify(pid, |env| {
                let name = env.atom(table);
                env.tuple(&[atoms::get().event, name, event_term(env, &happened)])
            });
        }
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Info => atoms::get().debug,
            Level::Warning => {
                let (logged, left_out) = self.budget.lock().take();
                if left_out > 0 {
                    let text = format!("{left_out} warnings of the last seconds were left out");
                    self.send_log(atoms::get().warning, &text);
                }
                if !logged {
                    return;
                }
                atoms::get().warning
            }
        };
        self.send_log(level, message);
    }
}

impl Sink {
    fn send_log(&self, level: Term, message: &str) {
        let logger = *self.logger.lock();
        if let Some(pid) = logger {
            caller::notify(pid, |env| {
                env.tuple(&[atoms::get().log, level, env.binary(message.as_bytes())])
            });
        }
    }
}

fn event_term(env: Env, happened: &Happened) -> Term {
    let atoms = atoms::get();
    let with = |tag, number: usize| env.tuple(&[tag, env.integer(number as i64)]);
    match happened {
        Happened::Notice(Notice::Acquired(slot)) => with(atoms.acquired, slot.index()),
        Happened::Notice(Notice::Released(slot)) => with(atoms.released, slot.index()),
        Happened::Notice(Notice::Lost(slot)) => with(atoms.lost, slot.index()),
        Happened::Notice(Notice::Settled(true)) => atoms.settled,
        Happened::Notice(Notice::Settled(false)) => atoms.unsettled,
        Happened::Left => atoms.left,
        Happened::LeaveTimedOut(remaining) => with(atoms.leave_timed_out, *remaining),
    }
}

/// `{:ok, term} | {:badarg, cause} | {:error, reason, node | nil}`.
pub(crate) fn outcome_term(env: Env, outcome: Outcome<'_>) -> Term {
    let atoms = atoms::get();
    match outcome {
        Outcome::Done(words) => env.tuple(&[atoms.ok, decode(env, words, 0, None)]),
        Outcome::BadArgument(cause) => env.tuple(&[atoms.badarg, cause_term(cause)]),
        Outcome::Failed(Failure { reason, node }) => {
            let node = node.map_or(atoms.nil, |node| env.atom(node.as_str()));
            env.tuple(&[atoms.error, env.atom(reason.name()), node])
        }
    }
}

fn cause_term(cause: Cause) -> Term {
    let atoms = atoms::get();
    match cause {
        Cause::BadKey => atoms.badkey,
        Cause::KeyPos => atoms.keypos,
        Cause::Position => atoms.position,
        Cause::TableType => atoms.table_type,
        Cause::None => atoms.none,
    }
}
