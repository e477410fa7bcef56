//! What was written in a slot while it was being copied.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::object::Key;

/// A key that was written while its slot was being copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedKey {
    /// The encoded key.
    pub words: Box<[u64]>,
    /// Its hash.
    pub hash: u64,
}

impl LoggedKey {
    /// The key, for looking its present object up.
    pub fn key(&self) -> Key<'_> {
        Key { words: &self.words, hash: self.hash }
    }
}

impl Hash for LoggedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash of a key is good enough for the set of logged keys as it is.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What changed in a slot since its snapshot began, or since the changes were taken last. Only
/// the keys: their objects are read when the changes are sent, so that a hot key is sent once.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether all objects were deleted, before the keys below were written.
    pub cleared: bool,
    pub(crate) keys: HashSet<LoggedKey, BuildHasherDefault<AsIs>>,
}

impl Changes {
    /// The keys that were written, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &LoggedKey> {
        self.keys.iter()
    }

    /// How many entries the log has.
    pub fn len(&self) -> usize {
        self.keys.len() + usize::from(self.cleared)
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn wrote(&mut self, key: &Key<'_>) {
        self.keys.insert(LoggedKey { words: key.words.into(), hash: key.hash });
    }
}
