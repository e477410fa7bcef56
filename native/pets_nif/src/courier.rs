//! Answers that have arrived together, sent together.
//!
//! A message from a thread of the C-node is dear: it wakes a scheduler, which takes the core from
//! that thread in the middle of its work, finds one process to run, and goes to sleep again. So the
//! thread only notes such answers down, and a process, the *courier*, turns them into messages on
//! the scheduler that it runs on: one wake-up for all of them.
//!
//! An answer is never left behind. The courier is told whenever the list was empty before, its
//! successor begins with what is there, and a caller that has waited in vain looks itself.

use std::cell::RefCell;
use std::collections::VecDeque;

use parking_lot::Mutex;
use pets_cnode::hosting::Outcome;
use rustler::sys::ErlNifPid;

use crate::atoms;
use crate::caller::{self, Caller};
use crate::sink::outcome_term;

/// So few answers are sent by the thread that has them.
const FEW: usize = 2;
/// The courier sends so many in one call, and so many words: well below a millisecond of work.
const ANSWERS: usize = 256;
const WORDS: usize = 8 * 1024;

/// Results of operations that were carried out, and who waits for them.
#[derive(Default)]
struct Batch {
    /// The encoded results, one behind the other.
    words: Vec<u64>,
    /// Each caller, and where its result ends.
    callers: Vec<(Caller, usize)>,
}

impl Batch {
    fn send(self) {
        let mut start = 0;
        for (caller, end) in self.callers {
            let outcome = Outcome::Done(&self.words[start..end]);
            caller.send(|env| outcome_term(env, outcome));
            start = end;
        }
    }
}

thread_local! {
    /// What this thread gathers; none while it does not.
    static GATHERED: RefCell<Option<Batch>> = const { RefCell::new(None) };
}

static COURIER: Mutex<Option<ErlNifPid>> = Mutex::new(None);
/// What the courier has to send. It has been told so unless this is empty.
static POSTED: Mutex<VecDeque<Batch>> = Mutex::new(VecDeque::new());

/// Runs `work`; what it delivers leaves together.
pub(crate) fn together(work: &mut dyn FnMut()) {
    /// Also when `work` panics: no answer is lost.
    struct Gathering;
    impl Drop for Gathering {
        fn drop(&mut self) {
            post(GATHERED.take().unwrap_or_default());
        }
    }
    if caller::on_scheduler() {
        return work();
    }
    GATHERED.set(Some(Batch::default()));
    let _gathering = Gathering;
    work();
}

/// Gives an answer to its caller, now or with the others.
pub(crate) fn deliver(caller: Caller, outcome: Outcome<'_>) {
    let alone = GATHERED.with_borrow_mut(|gathered| match (gathered, &outcome) {
        (Some(batch), Outcome::Done(words)) if words.len() <= WORDS / 8 => {
            batch.words.extend_from_slice(words);
            batch.callers.push((caller, batch.words.len()));
            if batch.callers.len() == ANSWERS || batch.words.len() >= WORDS {
                post(std::mem::take(batch));
            }
            None
        }
        _ => Some(caller),
    });
    if let Some(caller) = alone {
        caller.send(|env| outcome_term(env, outcome));
    }
}

fn post(batch: Batch) {
    let courier = *COURIER.lock();
    let Some(courier) = courier.filter(|_| batch.callers.len() > FEW) else {
        return batch.send();
    };
    let was_empty = {
        let mut posted = POSTED.lock();
        posted.push_back(batch);
        posted.len() == 1
    };
    if was_empty && !caller::notify(courier, |_| atoms::get().deliver) {
        // It has died, and its successor may not come before these answers are late.
        while send_some() {}
    }
}

/// The process that gets `:deliver` when there is something to [send](send_some).
pub(crate) fn attach(pid: ErlNifPid) {
    *COURIER.lock() = Some(pid);
}

/// Sends a part of what is there; true when there is more.
pub(crate) fn send_some() -> bool {
    let (batch, more) = {
        let mut posted = POSTED.lock();
        (posted.pop_front(), !posted.is_empty())
    };
    if let Some(batch) = batch {
        batch.send();
    }
    more
}
