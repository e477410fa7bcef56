//! The native functions, by what they are for.

pub(crate) mod call;
pub(crate) mod cluster;
pub(crate) mod debug;
pub(crate) mod key;
pub(crate) mod lifecycle;
pub(crate) mod node;
pub(crate) mod placed;
pub(crate) mod walk;
