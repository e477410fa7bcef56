//! The thinnest layer over the NIF interface: terms as words, the calling environment, and entry
//! points without the per-call costs of a generated wrapper.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustler::sys::{self, ErlNifEnv, ErlNifPid, ErlNifTerm};

/// A term of the VM, valid for the environment that it came from. The word is the VM's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Term(pub(crate) u64);

impl Term {
    pub(crate) fn to_nif(self) -> ErlNifTerm {
        // SAFETY: `ErlNifTerm` is a transparent wrapper of one machine word, and load refuses
        // machines whose word is not 64 bits.
        unsafe { std::mem::transmute::<u64, ErlNifTerm>(self.0) }
    }

    pub(crate) fn from_nif(term: ErlNifTerm) -> Self {
        // SAFETY: as above.
        Term(unsafe { std::mem::transmute::<ErlNifTerm, u64>(term) })
    }
}

impl Term {
    /// Whether the word is the whole term: the VM's primary tag `11`, checked when the library is
    /// loaded (see `vm::check_layout`).
    #[inline]
    pub(crate) fn is_immediate(self) -> bool {
        self.0 & 3 == 3
    }

    /// Whether the term is a list cell: the VM's primary tag `01`, checked likewise.
    #[inline]
    pub(crate) fn is_list_cell(self) -> bool {
        self.0 & 3 == 1
    }
}

/// The environment of the running NIF call, or a process-independent one.
#[derive(Clone, Copy)]
pub(crate) struct Env(pub(crate) *mut ErlNifEnv);

impl Env {
    pub(crate) fn tuple(self, elements: &[Term]) -> Term {
        // SAFETY: `Term` and `ErlNifTerm` have the same layout, and the array outlives the call.
        Term::from_nif(unsafe {
            sys::enif_make_tuple_from_array(
                self.0,
                elements.as_ptr().cast::<ErlNifTerm>(),
                elements.len() as u32,
            )
        })
    }

    pub(crate) fn list(self, elements: &[Term]) -> Term {
        // SAFETY: as in `tuple`.
        Term::from_nif(unsafe {
            sys::enif_make_list_from_array(
                self.0,
                elements.as_ptr().cast::<ErlNifTerm>(),
                elements.len() as u32,
            )
        })
    }

    pub(crate) fn cons(self, head: Term, tail: Term) -> Term {
        // SAFETY: both terms belong to this environment.
        Term::from_nif(unsafe { sys::enif_make_list_cell(self.0, head.to_nif(), tail.to_nif()) })
    }

    pub(crate) fn integer(self, value: i64) -> Term {
        // SAFETY: makes a term in a live environment.
        Term::from_nif(unsafe { sys::enif_make_int64(self.0, value) })
    }

    pub(crate) fn unsigned(self, value: u64) -> Term {
        // SAFETY: makes a term in a live environment.
        Term::from_nif(unsafe { sys::enif_make_uint64(self.0, value) })
    }

    pub(crate) fn unsigned_value(self, term: Term) -> Option<u64> {
        let mut value = 0;
        // SAFETY: the out-parameter is valid.
        (unsafe { sys::enif_get_uint64(self.0, term.to_nif(), &raw mut value) } != 0)
            .then_some(value)
    }

    pub(crate) fn binary(self, bytes: &[u8]) -> Term {
        let mut term = Term(0).to_nif();
        // SAFETY: the VM gives a buffer of the length asked for, which nobody else has yet.
        unsafe {
            let data = sys::enif_make_new_binary(self.0, bytes.len(), &raw mut term);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        }
        Term::from_nif(term)
    }

    /// An atom; `text` must be at most 255 characters of it.
    pub(crate) fn atom(self, text: &str) -> Term {
        let mut term = Term(0).to_nif();
        // SAFETY: `text` is UTF-8 of the given length; the out-parameter is valid.
        let made = unsafe {
            sys::enif_make_new_atom_len(
                self.0,
                text.as_ptr().cast(),
                text.len(),
                &raw mut term,
                sys::ErlNifCharEncoding::ERL_NIF_UTF8,
            )
        };
        if made == 0 { crate::atoms::get().nil } else { Term::from_nif(term) }
    }

    /// A map with atoms as keys, all of them different.
    pub(crate) fn map(self, pairs: &[(&str, Term)]) -> Term {
        let keys: Vec<_> = pairs.iter().map(|(key, _)| self.atom(key).to_nif()).collect();
        let values: Vec<_> = pairs.iter().map(|(_, value)| value.to_nif()).collect();
        let mut term = Term(0).to_nif();
        // SAFETY: both arrays hold as many terms of this environment.
        unsafe {
            sys::enif_make_map_from_arrays(
                self.0,
                keys.as_ptr(),
                values.as_ptr(),
                keys.len(),
                &raw mut term,
            );
        }
        Term::from_nif(term)
    }

    /// The value of an atom key in a map.
    pub(crate) fn map_get(self, map: Term, key: &str) -> Option<Term> {
        let mut value = Term(0).to_nif();
        // SAFETY: the out-parameter is valid; what is no map has no value.
        let found = unsafe {
            sys::enif_get_map_value(self.0, map.to_nif(), self.atom(key).to_nif(), &raw mut value)
        };
        (found != 0).then(|| Term::from_nif(value))
    }

    /// The pid in a term, if it is a local one.
    pub(crate) fn local_pid(self, term: Term) -> Option<ErlNifPid> {
        let mut pid = std::mem::MaybeUninit::uninit();
        // SAFETY: on success the VM has filled the pid.
        unsafe {
            (sys::enif_get_local_pid(self.0, term.to_nif(), pid.as_mut_ptr()) != 0)
                .then(|| pid.assume_init())
        }
    }

    pub(crate) fn bad_argument(self) -> Term {
        // SAFETY: only called with the environment of a running NIF call.
        Term::from_nif(unsafe { sys::enif_make_badarg(self.0) })
    }

    /// The elements of a tuple; they live as long as the call.
    pub(crate) fn tuple_elements<'a>(self, term: Term) -> Option<&'a [Term]> {
        let mut arity = 0;
        let mut elements = std::ptr::null();
        // SAFETY: out-parameters are valid; on success the array holds `arity` terms on a heap
        // that no garbage collection moves while the NIF runs.
        unsafe {
            if sys::enif_get_tuple(self.0, term.to_nif(), &raw mut arity, &raw mut elements) == 0 {
                return None;
            }
            if arity == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(elements.cast::<Term>(), arity as usize))
        }
    }

    /// Head and tail of a list cell.
    pub(crate) fn list_cell(self, term: Term) -> Option<(Term, Term)> {
        let mut head = Term(0).to_nif();
        let mut tail = Term(0).to_nif();
        // SAFETY: out-parameters are valid.
        let found = unsafe {
            sys::enif_get_list_cell(self.0, term.to_nif(), &raw mut head, &raw mut tail) != 0
        };
        found.then(|| (Term::from_nif(head), Term::from_nif(tail)))
    }

    /// The bytes of a binary; they live as long as the call. `None` for bitstrings of odd bits.
    pub(crate) fn binary_bytes<'a>(self, term: Term) -> Option<&'a [u8]> {
        let mut binary = std::mem::MaybeUninit::<sys::ErlNifBinary>::uninit();
        // SAFETY: the VM fills `binary` on success; its data stays put while the NIF runs.
        unsafe {
            if sys::enif_inspect_binary(self.0, term.to_nif(), binary.as_mut_ptr()) == 0 {
                return None;
            }
            let binary = binary.assume_init();
            if binary.size == 0 {
                return Some(&[]);
            }
            Some(std::slice::from_raw_parts(binary.data, binary.size))
        }
    }

    pub(crate) fn integer_value(self, term: Term) -> Option<i64> {
        let mut value = 0;
        // SAFETY: the out-parameter is valid.
        (unsafe { sys::enif_get_int64(self.0, term.to_nif(), &raw mut value) } != 0)
            .then_some(value)
    }

    /// Takes some hundredths of a time slice from the calling process.
    pub(crate) fn consume_timeslice(self, percent: usize) {
        if percent > 0 {
            // SAFETY: called within a NIF call; the number is one of 1 to 100.
            unsafe { sys::enif_consume_timeslice(self.0, percent.min(100) as i32) };
        }
    }

    /// The process that runs this call.
    pub(crate) fn caller(self) -> ErlNifPid {
        let mut pid = std::mem::MaybeUninit::uninit();
        // SAFETY: called within a NIF call of a process; the VM fills the pid.
        unsafe {
            sys::enif_self(self.0, pid.as_mut_ptr());
            pid.assume_init()
        }
    }

    /// Runs this call again, from its beginning, on a dirty CPU scheduler.
    pub(crate) fn reschedule_dirty(
        self,
        name: &'static std::ffi::CStr,
        entry: Entry,
        args: &[Term],
    ) -> Term {
        // SAFETY: name is static, the arguments are copied by the VM.
        Term::from_nif(unsafe {
            sys::enif_schedule_nif(
                self.0,
                name.as_ptr(),
                DIRTY_CPU,
                entry,
                args.len() as i32,
                args.as_ptr().cast::<ErlNifTerm>(),
            )
        })
    }

    /// Whether this call runs on a dirty scheduler, where it may take its time.
    pub(crate) fn on_dirty_scheduler() -> bool {
        // SAFETY: no precondition.
        unsafe { sys::enif_thread_type() >= sys::ERL_NIF_THR_DIRTY_CPU_SCHEDULER }
    }
}

/// `ERL_NIF_DIRTY_JOB_CPU_BOUND`.
pub(crate) const DIRTY_CPU: i32 = 1;

/// A native function as the VM calls it.
pub(crate) type Entry =
    unsafe extern "C" fn(*mut ErlNifEnv, std::ffi::c_int, *const ErlNifTerm) -> ErlNifTerm;

/// What a NIF body comes to.
pub(crate) enum Answer {
    /// Return this term.
    Term(Term),
    /// Run the call again on a dirty scheduler: a term in it is too large for this one. Nothing
    /// has been done yet.
    Dirty,
}

impl From<Term> for Answer {
    fn from(term: Term) -> Self {
        Answer::Term(term)
    }
}

/// Runs a NIF body; a panic becomes the error `nif_panicked` in the caller and goes no further: to
/// unwind into the VM would abort it.
///
/// # Safety
/// `env`, `argc` and `argv` must be those that the VM called `entry` with.
#[inline]
pub(crate) unsafe fn guarded<R: Into<Answer>>(
    env: *mut ErlNifEnv,
    argc: std::ffi::c_int,
    argv: *const ErlNifTerm,
    name: &'static std::ffi::CStr,
    entry: Entry,
    body: impl FnOnce(Env, &[Term]) -> R,
) -> ErlNifTerm {
    let args = if argc == 0 {
        &[]
    } else {
        // SAFETY: the VM passes `argc` terms.
        unsafe { std::slice::from_raw_parts(argv.cast::<Term>(), argc as usize) }
    };
    let env = Env(env);
    match catch_unwind(AssertUnwindSafe(|| body(env, args).into())) {
        Ok(Answer::Term(term)) => term.to_nif(),
        Ok(Answer::Dirty) => env.reschedule_dirty(name, entry, args).to_nif(),
        Err(_) => {
            // SAFETY: still inside the NIF call that `env` belongs to.
            unsafe { sys::enif_raise_exception(env.0, crate::atoms::get().nif_panicked.to_nif()) }
        }
    }
}

/// Registers `fn(Env, &[Term]) -> impl Into<Answer>` functions as native functions of the Elixir
/// module.
///
/// This bypasses rustler's wrapper, which collects the arguments of each call in a heap vector:
/// 8 ns a call instead of 16 to 19.
macro_rules! nifs {
    ($($name:ident / $arity:literal $(as $flags:ident)? => $body:path;)*) => {
        $(
            const _: () = {
                const NAME: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
                    concat!(stringify!($name), "\0").as_bytes(),
                ) {
                    Ok(name) => name,
                    Err(_) => panic!("identifiers hold no NUL"),
                };
                unsafe extern "C" fn entry(
                    env: *mut rustler::sys::ErlNifEnv,
                    argc: std::ffi::c_int,
                    argv: *const rustler::sys::ErlNifTerm,
                ) -> rustler::sys::ErlNifTerm {
                    // SAFETY: called by the VM with its own arguments.
                    unsafe { $crate::raw::guarded(env, argc, argv, NAME, entry, $body) }
                }
                rustler::codegen_runtime::inventory::submit! {
                    rustler::Nif {
                        name: NAME.as_ptr(),
                        arity: $arity,
                        flags: $crate::raw::nifs!(@flags $($flags)?),
                        raw_func: entry,
                    }
                }
            };
        )*
    };
    (@flags) => { 0 };
    (@flags dirty) => { $crate::raw::DIRTY_CPU as std::ffi::c_uint };
}
pub(crate) use nifs;
