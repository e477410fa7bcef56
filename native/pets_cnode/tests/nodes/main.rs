//! Real nodes on real sockets, with an EPMD of each test's own. Needs `epmd` and `erl` on the PATH.
#![allow(clippy::unwrap_used)]

mod beam;
mod bulk;
mod calls;
mod harness;
mod hostile;
mod lifecycle;
mod measure;
