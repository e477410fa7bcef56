//! Frames: what travels on an established connection.
//!
//! As in Erlang's distribution, a frame is a big-endian `u32` length and that many bytes; length
//! 0 is a tick. The first byte tells what the frame is: 112 an Erlang message, anything else one
//! of our own, which only a link that began with [`Hello`] may carry.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::tcp::OwnedReadHalf;

use crate::peer_name::PeerName;

/// First byte of an Erlang message ("pass through").
pub(crate) const ERLANG: u8 = 112;
pub(crate) const HELLO: u8 = 1;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const REFUSED: u8 = 3;
pub(crate) const REQUEST: u8 = 4;
pub(crate) const REPLY: u8 = 5;
pub(crate) const NO_REPLY: u8 = 6;
pub(crate) const CAST: u8 = 7;
pub(crate) const GOODBYE: u8 = 8;

/// Why a [`NO_REPLY`] frame stands in for an answer.
pub(crate) const WHY_DROPPED: u8 = 1;
pub(crate) const WHY_OVERLOADED: u8 = 2;
pub(crate) const WHY_TOO_LARGE: u8 = 3;

/// The tick frame.
pub(crate) const TICK: [u8; 4] = [0; 4];

/// Bytes of a frame before its payload.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Bytes before the body of a request or reply: length, tag, id.
pub(crate) const CALL_HEADER_BYTES: usize = LENGTH_BYTES + 1 + 8;

/// Appends a whole frame: a tag and what `write` adds.
pub(crate) fn push(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&TICK);
    out.push(tag);
    write(out);
    seal(out, start);
}

/// Writes the length of the frame that began at `start` and ends with the buffer.
pub(crate) fn seal(out: &mut [u8], start: usize) {
    let length = out.len() - start - LENGTH_BYTES;
    // Senders check their payloads against `max_frame`, which is clamped to u32::MAX.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The id at the start of a request's or reply's payload (after the tag), and the rest.
pub(crate) fn split_id(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (id, body) = payload.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*id), body))
}

/// What a connection between two C-nodes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Requests one way, answers the other.
    Calls,
    /// Ordered one-way messages.
    Bulk,
}

/// The oldest and newest protocol spoken here. The newest that both ends know is used.
pub(crate) const OLDEST_VERSION: u16 = 1;
pub(crate) const NEWEST_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"PETS";

/// First own frame on a connection, sent by the node that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) oldest: u16,
    pub(crate) newest: u16,
    pub(crate) role: Role,
    pub(crate) name: PeerName,
}

impl Hello {
    /// The hello of this version of the crate.
    pub(crate) fn current(role: Role, name: PeerName) -> Self {
        Self { oldest: OLDEST_VERSION, newest: NEWEST_VERSION, role, name }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        push(out, HELLO, |out| {
            out.extend_from_slice(&MAGIC);
            out.extend_from_slice(&self.oldest.to_be_bytes());
            out.extend_from_slice(&self.newest.to_be_bytes());
            out.push(match self.role {
                Role::Calls => 1,
                Role::Bulk => 2,
            });
            out.extend_from_slice(self.name.as_str().as_bytes());
        });
    }

    /// Reads a hello's payload, after the tag.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, String> {
        let (magic, rest) = payload.split_first_chunk::<4>().ok_or("a cut off hello")?;
        if *magic != MAGIC {
            return Err("not a hello of PartitionedEts".into());
        }
        let (oldest, rest) = rest.split_first_chunk::<2>().ok_or("a cut off hello")?;
        let (newest, rest) = rest.split_first_chunk::<2>().ok_or("a cut off hello")?;
        let (oldest, newest) = (u16::from_be_bytes(*oldest), u16::from_be_bytes(*newest));
        // The version is judged before the rest, which another version may lay out differently.
        if oldest > NEWEST_VERSION || newest < OLDEST_VERSION {
            return Err(format!(
                "protocol versions {oldest} to {newest} offered, \
                 {OLDEST_VERSION} to {NEWEST_VERSION} spoken here"
            ));
        }
        let (role, name) = rest.split_first().ok_or("a cut off hello")?;
        let role = match role {
            1 => Role::Calls,
            2 => Role::Bulk,
            other => return Err(format!("unknown role {other}")),
        };
        let name = std::str::from_utf8(name).map_err(|_| "a node name that is not UTF-8")?;
        let name = PeerName::new(name).map_err(|error| error.to_string())?;
        Ok(Self { oldest, newest, role, name })
    }

    /// The version that both ends speak.
    pub(crate) fn version(&self) -> u16 {
        self.newest.min(NEWEST_VERSION)
    }
}

/// What ended the reading of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("closed by the peer")]
    Closed,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooLarge { length: usize, limit: usize },
}

/// Reads frames off one connection through one buffer.
///
/// The buffer grows with the bytes that have arrived, not with the length that a peer announces.
pub(crate) struct FrameReader<R> {
    socket: R,
    buffer: Vec<u8>,
    /// Where the unread bytes start.
    start: usize,
    limit: usize,
    /// Frames taken out since the last [`fill`](Self::fill).
    frames: usize,
    /// Frames of late: a sum that halves with each `fill`.
    busy: usize,
    /// How long the last [`fill_soon`](Self::fill_soon) waited.
    waited: Duration,
    /// Before this the cores are needed for other things than looking.
    look_again: Instant,
}

/// A read offers the socket at least this much room.
const READ_BYTES: usize = 64 << 10;
/// The next frame is looked for, this long, if the last one came soon and there were few of late.
/// An idle link therefore costs nothing, and a busy one is not slept on anyway.
const LOOK: Duration = Duration::from_micros(30);
const SOON: Duration = Duration::from_micros(200);
const FEW_FRAMES: usize = 5;
/// A thread that was away from its core for longer, giving others a turn, does not look for a while.
const TAKEN: Duration = Duration::from_micros(200);
const REST: Duration = Duration::from_millis(250);
/// A buffer that a large frame has grown beyond this is given back once it is empty.
const KEEP_BYTES: usize = 1 << 20;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(socket: R, limit: usize) -> Self {
        Self {
            socket,
            buffer: Vec::with_capacity(READ_BYTES),
            start: 0,
            limit,
            frames: 0,
            busy: 0,
            waited: Duration::MAX,
            look_again: Instant::now(),
        }
    }

    /// Takes the next frame's payload out of what has been read; ticks are passed over. The range
    /// is valid for [`payload`](Self::payload) until the next [`fill`](Self::fill).
    pub(crate) fn next(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        loop {
            let unread = &self.buffer[self.start..];
            let Some((length, rest)) = unread.split_first_chunk::<LENGTH_BYTES>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*length) as usize;
            if length > self.limit {
                return Err(ReadError::TooLarge { length, limit: self.limit });
            }
            if rest.len() < length {
                return Ok(None);
            }
            let payload = self.start + LENGTH_BYTES;
            self.start = payload + length;
            if length > 0 {
                self.frames += 1;
                return Ok(Some(payload..payload + length));
            }
        }
    }

    /// The bytes of a frame that [`next`](Self::next) found.
    pub(crate) fn payload(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Waits for more bytes; returns how many came. Cancel safe.
    pub(crate) async fn fill(&mut self) -> Result<usize, ReadError> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > KEEP_BYTES {
                self.buffer = Vec::with_capacity(READ_BYTES);
            }
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
        }
        self.start = 0;
        self.busy = self.busy / 2 + std::mem::take(&mut self.frames);
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES {
            self.buffer.reserve(READ_BYTES);
        }
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(ReadError::Closed),
            count => Ok(count),
        }
    }
}

impl FrameReader<OwnedReadHalf> {
    /// Like [`fill`](Self::fill), for a link on which somebody waits for each answer. While few
    /// frames come, one soon after the other, the thread looks for the next one for a moment before
    /// it goes to sleep: waking it would take longer than the whole call.
    pub(crate) async fn fill_soon(&mut self) -> Result<usize, ReadError> {
        let begun = Instant::now();
        if self.busy <= FEW_FRAMES && self.waited < SOON && begun >= self.look_again {
            self.look_until(begun + LOOK);
        }
        let count = self.fill().await;
        self.waited = begun.elapsed();
        count
    }

    /// Returns when there is something to read, or when it is `end`; also when another thread had
    /// the core for long, which is needed for other things then: nobody looks for a while.
    fn look_until(&mut self, end: Instant) {
        let socket = SockRef::from(self.socket.as_ref());
        let is_empty = || {
            let seen = socket.peek(&mut [MaybeUninit::uninit()]);
            seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        let mut now = Instant::now();
        while now < end && is_empty() {
            thread::yield_now();
            let later = Instant::now();
            if later - now > TAKEN {
                self.look_again = later + REST;
                return;
            }
            now = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> FrameReader<&[u8]> {
        FrameReader::new(bytes, 100)
    }

    async fn all(mut reader: FrameReader<&[u8]>) -> (Vec<Vec<u8>>, ReadError) {
        let mut frames = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(range)) => frames.push(reader.payload(range).to_vec()),
                Ok(None) => {
                    if let Err(error) = reader.fill().await {
                        return (frames, error);
                    }
                }
                Err(error) => return (frames, error),
            }
        }
    }

    #[tokio::test]
    async fn frames_are_read_and_ticks_passed_over() {
        let mut bytes = TICK.to_vec();
        push(&mut bytes, CAST, |out| out.extend_from_slice(b"one"));
        bytes.extend_from_slice(&TICK);
        push(&mut bytes, GOODBYE, |_| ());
        let (frames, end) = all(reader(&bytes)).await;
        assert_eq!(frames, [b"\x07one".to_vec(), b"\x08".to_vec()]);
        assert!(matches!(end, ReadError::Closed));
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
        let (frames, end) = all(reader(&[0, 0, 0, 101])).await;
        assert!(frames.is_empty());
        assert!(matches!(end, ReadError::TooLarge { length: 101, limit: 100 }));
    }

    #[test]
    fn hello_round_trip_and_refusals() {
        let name = PeerName::new("pets_a@h").expect("a valid name");
        let hello = Hello::current(Role::Bulk, name);
        let mut out = Vec::new();
        hello.encode(&mut out);
        assert_eq!(out[..5], [0, 0, 0, out.len() as u8 - 4, HELLO]);
        let payload = &out[5..];
        assert_eq!(Hello::decode(payload), Ok(hello));
        for cut in 0..payload.len() - 2 {
            assert!(Hello::decode(&payload[..cut]).is_err(), "cut at {cut}");
        }
        let mut newer = payload.to_vec();
        newer[4..8].copy_from_slice(&[0, 2, 0, 9]);
        newer.truncate(8);
        let refusal = Hello::decode(&newer).expect_err("an unknown version");
        assert!(refusal.contains("2 to 9"), "{refusal}");
    }
}
