//! The atoms that the library answers with, made once when it is loaded.

use std::sync::OnceLock;

use rustler::sys;

use crate::raw::{Env, Term};

macro_rules! atoms {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Words of the atoms in use.
        pub(crate) struct Atoms { $(pub(crate) $field: Term),* }

        fn make(env: Env) -> Atoms {
            Atoms { $($field: atom(env, $text)),* }
        }
    };
}

atoms! {
    t_true = "true", t_false = "false", ok = "ok", error = "error", nil = "nil",
    badarg = "badarg", done = "done",
    slow = "$pets_slow", end_of_table = "$end_of_table", event = "pets_event", log = "pets_log",
    nif_panicked = "nif_panicked",
    already_exists = "already_exists", no_table = "no_table",
    id = "id", r#type = "type", badkey = "badkey", keypos = "keypos", position = "position",
    deliver = "deliver",
    table_type = "table_type", none = "none",
    acquired = "acquired", released = "released", lost = "lost",
    settled = "settled", unsettled = "unsettled",
    left = "left", leave_timed_out = "leave_timed_out",
    debug = "debug", warning = "warning", owner = "owner",
}

fn atom(env: Env, text: &str) -> Term {
    // SAFETY: `text` is ASCII of the given length; the environment is live.
    Term::from_nif(unsafe { sys::enif_make_atom_len(env.0, text.as_ptr().cast(), text.len()) })
}

static ATOMS: OnceLock<Atoms> = OnceLock::new();

/// Makes the atoms; called once from `load`.
pub(crate) fn load(env: Env) {
    ATOMS.get_or_init(|| make(env));
}

/// The atoms. `load` runs before any other function of the library.
pub(crate) fn get() -> &'static Atoms {
    ATOMS.get().expect("load made the atoms before the VM could call anything else")
}

/// A boolean as an atom.
pub(crate) fn boolean(value: bool) -> Term {
    if value { get().t_true } else { get().t_false }
}
