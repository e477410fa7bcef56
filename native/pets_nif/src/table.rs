//! A table as this VM knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pets_cnode::hosting::Hosted;
use pets_core::table::{self as core, Schema};

use crate::raw::Term;
use crate::sink::Sink;

/// A hosted table, and what Elixir keeps with it.
pub(crate) struct Table {
    hosted: Arc<Hosted<Sink>>,
    /// The configuration that Elixir gave, encoded.
    pub(crate) config: Vec<u64>,
    /// How long callers wait for operations on other nodes, in milliseconds.
    pub(crate) timeout_ms: i64,
    /// The owner's pid, or 0 before there was one. Written by `table_attach`.
    owner: AtomicU64,
}

impl Table {
    pub(crate) fn new(hosted: Arc<Hosted<Sink>>, config: Vec<u64>, timeout_ms: i64) -> Self {
        Table { hosted, config, timeout_ms, owner: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn core(&self) -> &core::Table {
        self.hosted.core()
    }

    #[inline]
    pub(crate) fn schema(&self) -> Schema {
        self.hosted.schema()
    }

    #[inline]
    pub(crate) fn placed_by_callback(&self) -> bool {
        self.hosted.placed_by_callback()
    }

    pub(crate) fn hosted(&self) -> &Arc<Hosted<Sink>> {
        &self.hosted
    }

    /// The owner, a local pid.
    pub(crate) fn owner(&self) -> Option<Term> {
        match self.owner.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(Term(pid)),
        }
    }

    pub(crate) fn set_owner(&self, pid: Term) {
        self.owner.store(pid.0, Ordering::Relaxed);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // The last reference may be dropped on a scheduler, which has no time for a million
        // objects. Where no thread can be had it must do it all the same.
        let hosted = Arc::clone(&self.hosted);
        let _ = std::thread::Builder::new().name("pets_drop".into()).spawn(move || drop(hosted));
    }
}
