//! The NIF library of PartitionedEts: each function decodes its arguments, calls the core once, and
//! encodes the result.
//!
//! * [`raw`]: the NIF interface as far as it is used, and entry points
//! * [`encode`], [`decode`]: terms of the VM to and from the core's encoding
//! * [`heap`], [`build`]: where terms are read and written on the heap itself
//! * [`vm`]: what the core has to ask the VM
//! * [`registry`]: tables by name
//! * [`caller`], [`sink`]: messages to processes
//! * [`ops`]: the native functions

mod atoms;
mod build;
mod caller;
mod courier;
mod decode;
mod encode;
mod heap;
mod ops;
mod raw;
mod registry;
mod scratch;
mod shared;
mod sink;
mod stored;
mod table;
mod view;
mod vm;
mod waiting;

use std::sync::{Arc, OnceLock};

use pets_cnode::hosting::Hosting;

use crate::raw::{Env, Term};
use crate::sink::Sink;
use crate::table::Table;

/// What `PartitionedEts.Native` passes to `load`; changes whenever the functions do.
const ABI: i64 = 7;

static HOSTING: OnceLock<Arc<Hosting<Sink>>> = OnceLock::new();

/// The tables of this VM.
fn hosting() -> &'static Arc<Hosting<Sink>> {
    HOSTING.get().expect("load made it before the VM could call anything else")
}

fn load(env: rustler::Env, info: rustler::Term) -> bool {
    let env = Env(env.as_c_arg());
    if env.integer_value(Term::from_nif(info.as_c_arg())) != Some(ABI) {
        // The VM logs nothing here; Elixir turns the failure into an instruction.
        return false;
    }
    atoms::load(env);
    if let Err(what) = vm::load(env) {
        eprintln!("partitioned_ets: this VM lays out {what} in a way that is not supported");
        return false;
    }
    if !shared::load(env) {
        return false;
    }
    heap::load(env);
    HOSTING.get_or_init(|| Hosting::new(Sink::new(), vm::node_name()));
    true
}

rustler::init!("Elixir.PartitionedEts.Native", load = load);
