//! The life of tables, and what is known about them.

use pets_cnode::hosting::{NotHosted, Settings};
use pets_core::ownership::Role;
use pets_core::table::{Schema, TableType};
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::atoms;
use crate::caller::sending;
use crate::decode::decode;
use crate::hosting;
use crate::raw::{Answer, Env, Term, nifs};
use crate::registry::{self, NotRegistered};
use crate::scratch::encode_argument;
use crate::table::Table;

// Making and dropping a table goes through all its slots.
nifs! {
    table_new/2 as dirty => new;
    table_attach/2 => attach;
    table_drop/1 as dirty => drop_table;
    table_config/1 => config;
    table_info/2 => info;
    table_names/0 => names;
}

/// `name, config`: `:ok` or `{:error, :already_exists}`.
fn new(env: Env, args: &[Term]) -> Answer {
    let [name, config] = *args else { return env.bad_argument().into() };
    let mut words = Vec::new();
    if let Err(answer) = encode_argument(env, config, &mut words) {
        return answer;
    }
    let Some((settings, timeout_ms)) = settings(env, config).filter(|_| word::is_atom(name.0))
    else {
        return env.bad_argument().into();
    };
    let exists = || env.tuple(&[atoms::get().error, atoms::get().already_exists]).into();
    let text = texts::text(name.0);
    let hosted = match sending(env, || hosting().host(text, settings)) {
        Ok(hosted) => hosted,
        Err(NotHosted::Exists) => return exists(),
        Err(NotHosted::NameTooLong) => return env.bad_argument().into(),
    };
    match registry::insert(name, std::sync::Arc::new(Table::new(hosted, words, timeout_ms))) {
        Ok(()) => atoms::get().ok.into(),
        Err(refused) => {
            sending(env, || hosting().forget(text));
            match refused {
                NotRegistered::Exists => exists(),
                NotRegistered::Name => env.bad_argument().into(),
            }
        }
    }
}

fn settings(env: Env, config: Term) -> Option<(Settings, i64)> {
    let get = |key| env.map_get(config, key);
    let positive = |key| get(key).and_then(|term| env.integer_value(term)).filter(|n| *n > 0);
    let role = match texts::text(get("role").filter(|role| word::is_atom(role.0))?.0) {
        "founder" => Role::Founder,
        "joiner" => Role::Joiner,
        _ => return None,
    };
    let table_type = get("type").filter(|name| word::is_atom(name.0))?;
    let table_type = TableType::from_name(texts::text(table_type.0))?;
    let settings = Settings {
        schema: Schema::new(table_type, usize::try_from(positive("keypos")?).ok()?),
        partitions: u32::try_from(positive("partitions")?).ok()?,
        role,
        placed_by_callback: get("callbacks")? != atoms::get().nil,
    };
    Some((settings, positive("timeout")?))
}

/// `name, pid`: the process that owns the table from now on.
fn attach(env: Env, args: &[Term]) -> Term {
    let [name, pid] = *args else { return env.bad_argument() };
    if !word::is_local_pid(pid.0) {
        return env.bad_argument();
    }
    match registry::get(name) {
        Some(table) => {
            table.set_owner(pid);
            atoms::get().ok
        }
        None => env.tuple(&[atoms::get().error, atoms::get().no_table]),
    }
}

/// Whether there was such a table. Its memory is given back in the background.
fn drop_table(env: Env, args: &[Term]) -> Term {
    let Some(table) = registry::remove(args[0]) else { return atoms::get().t_false };
    let name = table.hosted().name();
    sending(env, || hosting().forget(name));
    hosting().sink().forget(name);
    atoms::get().t_true
}

fn config(env: Env, args: &[Term]) -> Term {
    match registry::get(args[0]) {
        Some(table) => decode(env, table.config.as_slice(), 0, None),
        None => atoms::get().nil,
    }
}

/// `name, item`: the owner's pid; nil where there is none.
fn info(_env: Env, args: &[Term]) -> Term {
    let table = registry::get(args[0]).filter(|_| args[1] == atoms::get().owner);
    table.and_then(|table| table.owner()).unwrap_or(atoms::get().nil)
}

fn names(env: Env, _args: &[Term]) -> Term {
    env.list(&registry::names())
}
