//! Processes that wait for a message with their answer.

use std::cell::Cell;
use std::ptr;

use parking_lot::Mutex;
use rustler::sys::{self, ErlNifEnv, ErlNifPid};

use crate::raw::{Env, Term};

/// Message environments kept for reuse: one costs 2.4 KB and an allocation.
const POOLED_ENVS: usize = 1024;

/// An environment for one message.
struct MessageEnv(*mut ErlNifEnv);

// SAFETY: a process-independent environment may be used from any thread, one at a time; this value
// is its only handle.
unsafe impl Send for MessageEnv {}
// SAFETY: nothing can be done with a shared reference to it.
unsafe impl Sync for MessageEnv {}

static POOL: Mutex<Vec<MessageEnv>> = Mutex::new(Vec::new());

impl MessageEnv {
    fn take() -> Self {
        POOL.lock().pop().unwrap_or_else(|| {
            // SAFETY: no precondition.
            MessageEnv(unsafe { sys::enif_alloc_env() })
        })
    }
}

impl Drop for MessageEnv {
    fn drop(&mut self) {
        // SAFETY: nobody holds a term of this environment any more: they live no longer than it.
        unsafe { sys::enif_clear_env(self.0) };
        let mut pool = POOL.lock();
        if pool.len() < POOLED_ENVS {
            pool.push(MessageEnv(self.0));
        } else {
            drop(pool);
            // SAFETY: this was the only handle.
            unsafe { sys::enif_free_env(self.0) };
        }
    }
}

/// A process and the reference under which it waits.
pub(crate) struct Caller {
    pid: ErlNifPid,
    /// A copy of the reference, in `env`.
    reference: Term,
    env: MessageEnv,
}

impl Caller {
    /// The process that runs this call, waiting for `{reference, ...}`.
    pub(crate) fn new(env: Env, reference: Term) -> Self {
        let own = MessageEnv::take();
        // SAFETY: both environments are live.
        let reference = Term::from_nif(unsafe { sys::enif_make_copy(own.0, reference.to_nif()) });
        Caller { pid: env.caller(), reference, env: own }
    }

    /// Sends `{reference, answer}`. A process that is gone is no error.
    pub(crate) fn send(self, answer: impl FnOnce(Env) -> Term) {
        let env = Env(self.env.0);
        let message = env.tuple(&[self.reference, answer(env)]);
        send(self.pid, env, message);
    }
}

/// Sends a message made by `message` to a process that waits for no particular reference. False
/// when there is no such process.
pub(crate) fn notify(pid: ErlNifPid, message: impl FnOnce(Env) -> Term) -> bool {
    let env = MessageEnv::take();
    let message = message(Env(env.0));
    send(pid, Env(env.0), message)
}

thread_local! {
    /// The environment of the call that this scheduler thread is in; null elsewhere.
    static CURRENT: Cell<*mut ErlNifEnv> = const { Cell::new(ptr::null_mut()) };
}

/// Runs a part of a NIF call that may send messages. The VM wants the environment of the call for
/// a message from a scheduler thread, and none from any other.
pub(crate) fn sending<R>(env: Env, work: impl FnOnce() -> R) -> R {
    struct Restore(*mut ErlNifEnv);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(env.0));
    work()
}

/// Whether this thread is in a NIF call that [may send](sending).
pub(crate) fn on_scheduler() -> bool {
    !CURRENT.get().is_null()
}

fn send(pid: ErlNifPid, env: Env, message: Term) -> bool {
    // SAFETY: `message` is of `env`, a process-independent environment; the caller's environment
    // is that of the running call on a scheduler thread, and null on the threads of the C-node.
    unsafe { sys::enif_send(CURRENT.get(), &raw const pid, env.0, message.to_nif()) != 0 }
}
