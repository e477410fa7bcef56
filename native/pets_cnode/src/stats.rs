//! Counters for operators and tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what a node is doing, by [`Node::stats`](crate::Node::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Own connections for calls, being made or up.
    pub outgoing_calls_links: usize,
    /// Own bulk connections, being made or up.
    pub outgoing_bulk_links: usize,
    /// Connections on which peers call.
    pub incoming_calls_links: usize,
    /// Connections on which peers send bulk data.
    pub incoming_bulk_links: usize,
    /// Connections of BEAM nodes, and those that have not said yet what they are.
    pub other_links: usize,
    /// Own calls without an answer.
    pub calls_in_flight: usize,
    /// Own calls accepted since the start.
    pub calls: u64,
    /// Requests handed to the handler since the start.
    pub requests: u64,
    /// Bytes written to links since the start.
    pub bytes_sent: u64,
    /// Bytes read from links since the start.
    pub bytes_received: u64,
}

/// Running totals over all links.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    calls: AtomicU64,
    requests: AtomicU64,
}

impl Traffic {
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn requested(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The totals, with the counts of links left at 0.
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            calls: self.calls.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }
}
