//! What the hosting of tables asks of the library that embeds it.

use pets_core::ownership::Notice;
use pets_core::placement::NodeName;
use pets_core::table::op::Cause;

/// Where answers and notices go.
pub trait Sink: Send + Sync + 'static {
    /// Somebody on this node who waits for an answer.
    type Caller: Send + Sync + 'static;

    /// Gives an answer to a caller that was told to wait. Runs on any thread.
    fn deliver(&self, caller: Self::Caller, outcome: Outcome<'_>);

    /// Answers have arrived together: `work` [delivers](Self::deliver) them, and more may be saved
    /// when they go out together.
    fn together(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Something happened to a table's slots. Runs on any thread, in the order of the events, and
    /// must not call back into the hosting.
    fn notify(&self, table: &str, happened: Happened);

    /// Something an operator may want to know.
    fn log(&self, level: crate::Level, message: &str);
}

/// What became of an operation.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It was carried out; its result is this encoded term.
    Done(&'a [u64]),
    /// It made no sense; nothing was done.
    BadArgument(Cause),
    /// It failed for a reason that only a cluster has.
    Failed(Failure),
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// The node that was asked, where one was.
    pub node: Option<NodeName>,
}

/// Reasons of a [`Failure`]. The numbers travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The time for the operation ran out while it waited for its slot; it was not carried out.
    Timeout = 1,
    /// The node went down before it answered; the operation may have been carried out.
    NodeDown = 2,
    /// Too much is under way to the node; nothing was done.
    Overloaded = 3,
    /// The node does not host the table; nothing was done.
    NoTable = 4,
    /// The slots of the operation are served by more than one node; nothing was done.
    Moved = 5,
    /// Request or answer do not fit into one message. A request was not carried out; an
    /// operation whose answer is too large was.
    TooLarge = 6,
    /// The peer sent something that makes no sense, or refused this node.
    Protocol = 7,
    /// No connection to the node; nothing was done.
    NotConnected = 8,
}

impl Reason {
    /// The reason as Elixir knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NodeDown => "node_down",
            Self::Overloaded => "overloaded",
            Self::NoTable => "no_table",
            Self::Moved => "moved",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::NotConnected => "not_connected",
        }
    }

    /// The reason with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Timeout,
            2 => Self::NodeDown,
            3 => Self::Overloaded,
            4 => Self::NoTable,
            5 => Self::Moved,
            6 => Self::TooLarge,
            7 => Self::Protocol,
            8 => Self::NotConnected,
            _ => return None,
        })
    }
}

/// What happened to a table, for its subscribers on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A slot was acquired, released or lost, or the table settled.
    Notice(Notice),
    /// This node owns nothing any more and may leave.
    Left,
    /// The deadline for leaving passed with so many slots still held.
    LeaveTimedOut(usize),
}
