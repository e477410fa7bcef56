//! What the core cannot know of the running VM: the texts of atoms, the parts of local identifiers,
//! and whether the VM lays terms out as we read them.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use pets_core::placement::NodeName;
use pets_core::term::atoms::{self, NodeIdentity, PidParts, Vm};
use pets_core::term::word;
use rustler::sys::{self, ErlNifCharEncoding, ErlNifEnv};

use crate::raw::{Env, Term};

/// An environment of our own for work outside of any call.
struct Scratch(*mut ErlNifEnv);

// SAFETY: a process-independent environment may be used from any thread, one at a time; it is
// reached only through the mutex in `SCRATCH`.
unsafe impl Send for Scratch {}

static SCRATCH: Mutex<Option<Scratch>> = Mutex::new(None);

fn with_scratch<R>(work: impl FnOnce(Env) -> R) -> R {
    let mut scratch = SCRATCH.lock();
    // SAFETY: allocates an environment that lives as long as the library.
    let env = scratch.get_or_insert_with(|| Scratch(unsafe { sys::enif_alloc_env() })).0;
    let result = work(Env(env));
    // SAFETY: no term of this environment is left: `work` returns plain data.
    unsafe { sys::enif_clear_env(env) };
    result
}

/// The binding of the core to this VM.
pub(crate) struct Beam;

impl Vm for Beam {
    fn atom_text(&self, atom: u64) -> String {
        with_scratch(|env| {
            let mut text = [0u8; LONGEST_ATOM + 1];
            let mut length = 0;
            // SAFETY: the buffer holds the longest atom; out-parameters are valid.
            unsafe {
                sys::enif_get_atom_length(
                    env.0,
                    Term(atom).to_nif(),
                    &raw mut length,
                    ErlNifCharEncoding::ERL_NIF_UTF8,
                );
                sys::enif_get_atom(
                    env.0,
                    Term(atom).to_nif(),
                    text.as_mut_ptr().cast(),
                    text.len() as u32,
                    ErlNifCharEncoding::ERL_NIF_UTF8,
                );
            }
            String::from_utf8_lossy(&text[..length as usize]).into_owned()
        })
    }

    fn atom_word(&self, text: &str) -> Option<u64> {
        with_scratch(|env| {
            let mut term = Term(0).to_nif();
            // SAFETY: `text` is UTF-8 of the given length; the VM refuses what is too long.
            let made = unsafe {
                sys::enif_make_new_atom_len(
                    env.0,
                    text.as_ptr().cast(),
                    text.len(),
                    &raw mut term,
                    ErlNifCharEncoding::ERL_NIF_UTF8,
                )
            };
            (made != 0).then(|| Term::from_nif(term).0)
        })
    }

    fn existing_atom_word(&self, text: &str) -> Option<u64> {
        with_scratch(|env| {
            let mut term = Term(0).to_nif();
            // SAFETY: as above.
            let found = unsafe {
                sys::enif_make_existing_atom_len(
                    env.0,
                    text.as_ptr().cast(),
                    text.len(),
                    &raw mut term,
                    ErlNifCharEncoding::ERL_NIF_UTF8,
                )
            };
            (found != 0).then(|| Term::from_nif(term).0)
        })
    }

    fn pid_to_parts(&self, pid: u64) -> PidParts {
        let tail = identifier_tail(pid);
        PidParts { id: (tail >> 32) as u32, serial: tail as u32 }
    }

    fn pid_from_parts(&self, parts: PidParts) -> Option<u64> {
        let mut bytes = identifier_head(NEW_PID_EXT);
        bytes.extend(parts.id.to_be_bytes());
        bytes.extend(parts.serial.to_be_bytes());
        local_identifier(bytes)
    }

    fn port_to_id(&self, port: u64) -> u64 {
        identifier_tail(port)
    }

    fn port_from_id(&self, id: u64) -> Option<u64> {
        let mut bytes = identifier_head(V4_PORT_EXT);
        bytes.extend(id.to_be_bytes());
        local_identifier(bytes)
    }

    fn node(&self) -> NodeIdentity {
        // Acquire pairs with the Release in `refresh_identity`: name and creation belong together
        // as long as the node does not change its name, which it does once at most, when it
        // becomes distributed.
        let creation = CREATION.load(Ordering::Acquire);
        NodeIdentity { name: NAME.load(Ordering::Relaxed), creation }
    }
}

/// Bytes of the longest atom: 255 characters of at most 4 bytes.
const LONGEST_ATOM: usize = 4 * 255;
const NEW_PID_EXT: u8 = 88;
const V4_PORT_EXT: u8 = 120;

static NAME: AtomicU64 = AtomicU64::new(0);
static CREATION: AtomicU32 = AtomicU32::new(0);

/// The id and serial of a local pid, or the id of a local port: the 8 bytes before the creation in
/// its external format.
fn identifier_tail(identifier: u64) -> u64 {
    with_serialised(Term(identifier), |bytes| {
        let tail = bytes.len().checked_sub(12).and_then(|start| bytes.get(start..start + 8));
        let tail = tail.and_then(|tail| tail.try_into().ok());
        u64::from_be_bytes(
            tail.expect("a pid or port ends in 12 bytes of numbers on OTP 24 and later"),
        )
    })
}

/// An identifier of this node in external format up to its numbers.
fn identifier_head(tag: u8) -> Vec<u8> {
    let name = atoms::text(Beam.node().name).as_bytes();
    let mut bytes = vec![131, tag, 118];
    bytes.extend((name.len() as u16).to_be_bytes());
    bytes.extend(name);
    bytes
}

/// Completes `bytes` with this node's creation and reads them; only an immediate is an identifier
/// that the VM takes for its own.
fn local_identifier(mut bytes: Vec<u8>) -> Option<u64> {
    bytes.extend(Beam.node().creation.to_be_bytes());
    with_scratch(|env| {
        let mut term = Term(0).to_nif();
        // SAFETY: the bytes live through the call; the VM refuses what is malformed.
        let read = unsafe {
            sys::enif_binary_to_term(env.0, bytes.as_ptr(), bytes.len(), &raw mut term, 0)
        };
        let term = Term::from_nif(term);
        (read != 0 && term.is_immediate()).then_some(term.0)
    })
}

fn with_serialised<R>(term: Term, read: impl FnOnce(&[u8]) -> R) -> R {
    with_scratch(|env| serialise(env, term, read).expect("the VM serialises its identifiers"))
}

/// Calls `read` with the external format of a term of `env`; `None` where the VM has none.
pub(crate) fn serialise<R>(env: Env, term: Term, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut binary = MaybeUninit::<sys::ErlNifBinary>::uninit();
    // SAFETY: on success the VM has filled `binary`, which is released once it has been read.
    unsafe {
        if sys::enif_term_to_binary(env.0, term.to_nif(), binary.as_mut_ptr()) == 0 {
            return None;
        }
        let mut binary = binary.assume_init();
        let result = read(std::slice::from_raw_parts(binary.data, binary.size));
        sys::enif_release_binary(&raw mut binary);
        Some(result)
    }
}

/// Looks up who this node is. A node that becomes distributed changes its name: whoever is about to
/// take an identifier apart calls this first.
pub(crate) fn refresh_identity() {
    // A new reference in external format: 131, 90, 2-byte count, the node's name as an atom, 4
    // bytes of creation, the identifiers.
    let identity = with_scratch(|env| {
        // SAFETY: the scratch environment is live.
        let reference = Term::from_nif(unsafe { sys::enif_make_ref(env.0) });
        serialise(env, reference, |bytes| {
            let count = usize::from(*bytes.get(3)?);
            let name_end = bytes.len().checked_sub(4 * count + 4)?;
            let name = match bytes.get(4)? {
                // SMALL_ATOM_UTF8_EXT, SMALL_ATOM_EXT
                119 | 115 => bytes.get(6..name_end)?,
                // ATOM_UTF8_EXT, ATOM_EXT
                _ => bytes.get(7..name_end)?,
            };
            let creation = bytes.get(name_end..name_end + 4)?.try_into().ok()?;
            Some((String::from_utf8_lossy(name).into_owned(), u32::from_be_bytes(creation)))
        })
    });
    let (name, creation) = identity.flatten().expect("references have this format since OTP 23");
    let Some(name) = Beam.atom_word(&name) else { return };
    NAME.store(name, Ordering::Relaxed);
    // Release pairs with the Acquire in `node`.
    CREATION.store(creation, Ordering::Release);
}

/// Installs the binding, after checking that the VM lays out immediates as [`word`] describes, so
/// that they can be copied instead of converted.
///
/// # Errors
/// What differs, in words.
pub(crate) fn load(env: Env) -> Result<(), &'static str> {
    for value in [0, 1, -1, word::SMALL_MAX, word::SMALL_MIN] {
        if env.integer(value).0 != word::small(value) {
            return Err("small integers");
        }
    }
    if env.integer(word::SMALL_MAX + 1).is_immediate() {
        return Err("integers above 2^59 - 1");
    }
    if env.list(&[]).0 != word::NIL {
        return Err("the empty list");
    }
    if !word::is_atom(crate::atoms::get().t_true.0) {
        return Err("atoms");
    }
    if !env.cons(env.integer(1), env.list(&[])).is_list_cell() {
        return Err("list cells");
    }
    atoms::install(&Beam);
    refresh_identity();
    Ok(())
}

/// The name that this node has now.
pub(crate) fn node_name() -> NodeName {
    refresh_identity();
    atoms::text(Beam.node().name).into()
}
