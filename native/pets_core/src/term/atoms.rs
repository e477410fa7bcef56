//! What the words of atoms, local pids and local ports stand for, and a cache of the atoms' texts.
//!
//! In a process such words are the VM's own and mean nothing outside. The VM binding explains them
//! through [`Vm`], installed once when the library loads. The text of an atom and its portable hash
//! are kept for good in a table by atom index, which is read without a lock: the VM never frees
//! an atom either.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::{hash, word};

#[doc(hidden)]
pub mod test_vm;

/// The numbers that a pid consists of, its node apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidParts {
    /// The first number of `NEW_PID_EXT`.
    pub id: u32,
    /// The second one.
    pub serial: u32,
}

/// The name and the incarnation of this node, as pids that leave it carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name, an atom word.
    pub name: u64,
    /// Its creation; 0 as long as the node is not distributed.
    pub creation: u32,
}

/// What the VM binding knows about words.
pub trait Vm: Send + Sync {
    /// The text of an atom.
    fn atom_text(&self, word: u64) -> String;

    /// The word of the atom with this text, which is made if need be. `None` if the text is longer
    /// than 255 characters, or the VM refuses.
    fn atom_word(&self, text: &str) -> Option<u64>;

    /// The word of the atom with this text, if the VM has it already.
    fn existing_atom_word(&self, text: &str) -> Option<u64>;

    /// The numbers of a local pid.
    fn pid_to_parts(&self, word: u64) -> PidParts;

    /// The word of the local pid with these numbers; `None` if they are beyond what the VM uses.
    fn pid_from_parts(&self, parts: PidParts) -> Option<u64>;

    /// The number of a local port.
    fn port_to_id(&self, word: u64) -> u64;

    /// The word of the local port with this number; `None` if it is beyond what the VM uses.
    fn port_from_id(&self, id: u64) -> Option<u64>;

    /// This node. Called for each local pid, port and reference that is hashed, compared with one
    /// of another node, or sent: it should be cheap.
    fn node(&self) -> NodeIdentity;
}

static VM: OnceLock<&'static dyn Vm> = OnceLock::new();

/// Installs the VM binding. Only the first call has an effect; returns whether this was it.
pub fn install(vm: &'static dyn Vm) -> bool {
    VM.set(vm).is_ok()
}

/// The installed VM binding.
///
/// # Panics
/// When none is installed.
#[inline]
pub fn vm() -> &'static dyn Vm {
    *VM.get().expect("the VM binding is installed when the library loads, before any term exists")
}

/// What is kept about an atom.
#[derive(Debug)]
pub struct AtomInfo {
    /// Its word.
    pub word: u64,
    /// Its text.
    pub text: Box<str>,
    /// The portable hash of its text, never 0.
    pub hash: u64,
}

const CHUNK_BITS: u32 = 13;
const CHUNK: usize = 1 << CHUNK_BITS;
/// Atoms with an index beyond this are kept in [`BEYOND`]; the VM's own default limit is 2^20.
const MAX_INDEXED: u64 = 1 << 26;

struct Entry {
    /// 0 until known. Stands for itself, so that reading it needs no ordering.
    hash: AtomicU64,
    /// Null until known; written once, by whoever asks first.
    info: AtomicPtr<AtomInfo>,
}

type Chunk = [Entry; CHUNK];

static CHUNKS: [AtomicPtr<Chunk>; (MAX_INDEXED >> CHUNK_BITS) as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; (MAX_INDEXED >> CHUNK_BITS) as usize];

static BEYOND: OnceLock<scc::HashMap<u64, &'static AtomInfo>> = OnceLock::new();

/// The portable hash of an atom's text. Never 0.
#[inline]
pub fn hash(word: u64) -> u64 {
    let index = word::atom_index(word);
    if index < MAX_INDEXED {
        // Acquire: pairs with the release in `chunk`, which publishes the zeroed entries.
        let chunk = CHUNKS[(index >> CHUNK_BITS) as usize].load(Ordering::Acquire);
        // SAFETY: a chunk is published whole by `chunk` and never freed.
        if let Some(chunk) = unsafe { chunk.as_ref() } {
            let hash = chunk[index as usize & (CHUNK - 1)].hash.load(Ordering::Relaxed);
            if hash != 0 {
                return hash;
            }
        }
    }
    info(word).hash
}

/// The text of an atom.
pub fn text(word: u64) -> &'static str {
    &info(word).text
}

/// What is kept about an atom; asks the VM the first time.
pub fn info(word: u64) -> &'static AtomInfo {
    let index = word::atom_index(word);
    if index >= MAX_INDEXED {
        return beyond(word);
    }
    let entry = &chunk((index >> CHUNK_BITS) as usize)[index as usize & (CHUNK - 1)];
    // Acquire: pairs with the release below, which publishes the info.
    let known = entry.info.load(Ordering::Acquire);
    // SAFETY: an info is published whole, once, and never freed.
    if let Some(info) = unsafe { known.as_ref() } {
        return info;
    }
    let fresh = Box::into_raw(Box::new(ask(word)));
    // Release: publishes the info to the acquires here and above.
    match entry.info.compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Acquire)
    {
        Ok(_) => {
            // SAFETY: from `Box::into_raw` above, and shared from now on; never freed.
            let info = unsafe { &*fresh };
            entry.hash.store(info.hash, Ordering::Relaxed);
            info
        }
        Err(other) => {
            // SAFETY: from `Box::into_raw` above; the exchange failed, so nobody else saw it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: not null, as the exchange failed; published whole and never freed.
            unsafe { &*other }
        }
    }
}

fn ask(word: u64) -> AtomInfo {
    let text = vm().atom_text(word).into_boxed_str();
    let hash = hash::hash_bytes(text.as_bytes());
    AtomInfo { word, text, hash }
}

fn chunk(number: usize) -> &'static Chunk {
    // Acquire: pairs with the release below, which publishes the zeroed entries.
    let known = CHUNKS[number].load(Ordering::Acquire);
    // SAFETY: a chunk is published whole and never freed.
    if let Some(chunk) = unsafe { known.as_ref() } {
        return chunk;
    }
    let entries: Box<[Entry]> = (0..CHUNK)
        .map(|_| Entry { hash: AtomicU64::new(0), info: AtomicPtr::new(ptr::null_mut()) })
        .collect();
    let fresh: Box<Chunk> = match entries.try_into() {
        Ok(chunk) => chunk,
        Err(_) => unreachable!("the range has as many entries as a chunk"),
    };
    let fresh = Box::into_raw(fresh);
    // Release: publishes the entries to the acquires here, above and in `hash`.
    let exchanged = CHUNKS[number].compare_exchange(
        ptr::null_mut(),
        fresh,
        Ordering::Release,
        Ordering::Acquire,
    );
    match exchanged {
        // SAFETY: from `Box::into_raw` above, and shared from now on; never freed.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            // SAFETY: from `Box::into_raw` above; the exchange failed, so nobody else saw it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: not null, as the exchange failed; published whole and never freed.
            unsafe { &*other }
        }
    }
}

fn beyond(word: u64) -> &'static AtomInfo {
    let map = BEYOND.get_or_init(scc::HashMap::default);
    map.entry_sync(word).or_insert_with(|| Box::leak(Box::new(ask(word)))).get()
}

/// How many new atoms bytes from outside may make in this process, whoever sends them.
///
/// The count is one for the whole process; what differs is the limit it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomBudget {
    limit: usize,
}

impl AtomBudget {
    /// A limit of this many new atoms in the life of the process.
    pub const fn new(limit: usize) -> Self {
        AtomBudget { limit }
    }

    /// How many atoms bytes from outside have made so far.
    pub fn used() -> usize {
        MADE_FROM_OUTSIDE.load(Ordering::Relaxed)
    }
}

impl Default for AtomBudget {
    /// 100,000: a tenth of the VM's own default limit, at which the VM would end.
    fn default() -> Self {
        AtomBudget::new(100_000)
    }
}

static MADE_FROM_OUTSIDE: AtomicUsize = AtomicUsize::new(0);

/// Why a text from outside is no atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InternError {
    /// It has more than 255 characters, or the VM refuses it. Nothing was made.
    #[error("an atom of more than 255 characters")]
    TooLong,
    /// It is new, and bytes from outside have made as many atoms as they may. Nothing was made.
    #[error("data from outside has made as many new atoms as it may")]
    Exhausted,
}

/// The atoms that were last met as text, by the hash of it. A lossy cache: an entry gives way to
/// the next atom of its place, and whoever misses asks the VM.
static RECENT: [AtomicPtr<AtomInfo>; 4096] = [const { AtomicPtr::new(ptr::null_mut()) }; 4096];

/// The word of the atom with this text, which came from outside. An atom that the VM has already
/// costs nothing; a new one is counted against the budget.
///
/// # Errors
/// [`InternError`]; then no atom was made.
pub fn intern(text: &str, budget: &AtomBudget) -> Result<u64, InternError> {
    let place = &RECENT[hash::hash_bytes(text.as_bytes()) as usize % RECENT.len()];
    // Acquire: pairs with the release below; what is here was published by another thread.
    // SAFETY: entries come from `info` and are never freed.
    if let Some(recent) = unsafe { place.load(Ordering::Acquire).as_ref() }
        && *recent.text == *text
    {
        return Ok(recent.word);
    }
    // Also bounds how long the VM is made to look at a text. An atom's 255 characters have at
    // most four bytes each.
    if text.len() > 4 * 255 || text.chars().count() > 255 {
        return Err(InternError::TooLong);
    }
    let word = match vm().existing_atom_word(text) {
        Some(word) => word,
        None => {
            let admitted =
                MADE_FROM_OUTSIDE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
                    (made < budget.limit).then_some(made + 1)
                });
            if admitted.is_err() {
                return Err(InternError::Exhausted);
            }
            vm().atom_word(text).ok_or(InternError::TooLong)?
        }
    };
    // Release: pairs with the acquire above, in whichever thread finds this next.
    place.store(ptr::from_ref(info(word)).cast_mut(), Ordering::Release);
    Ok(word)
}
