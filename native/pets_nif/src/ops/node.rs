//! The embedded C-node.

use std::net::IpAddr;
use std::time::Duration;

use pets_cnode::Config;
use pets_core::placement::NodeName;
use pets_core::term::atoms as texts;
use pets_core::term::word;

use crate::atoms;
use crate::caller::sending;
use crate::hosting;
use crate::raw::{Env, Term, nifs};

// Starting waits for EPMD, and stopping for threads: neither is for a normal scheduler.
nifs! {
    node_start/1 as dirty => start;
    node_stop/0 as dirty => stop;
    node_info/0 => info;
    node_log_to/1 => log_to;
    node_set_cookie/1 => set_cookie;
}

/// `config`: `:ok` or `{:error, text}`.
fn start(env: Env, args: &[Term]) -> Term {
    let Some((config, node)) = config(env, args[0]) else { return env.bad_argument() };
    crate::vm::refresh_identity();
    match sending(env, || hosting().start_node(config, node)) {
        Ok(()) => atoms::get().ok,
        Err(error) => env.tuple(&[atoms::get().error, env.binary(error.to_string().as_bytes())]),
    }
}

fn config(env: Env, map: Term) -> Option<(Config, NodeName)> {
    let text = |key| {
        let bytes = env.binary_bytes(env.map_get(map, key)?)?;
        std::str::from_utf8(bytes).ok()
    };
    let node = env.map_get(map, "node").filter(|node| word::is_atom(node.0))?;
    let mut config = Config::new(text("name")?, text("cookie")?);
    config.epmd_port = u16::try_from(env.integer_value(env.map_get(map, "epmd_port")?)?).ok()?;
    config.listen = text("listen")?.parse::<IpAddr>().ok()?;
    let ticktime = env.integer_value(env.map_get(map, "net_ticktime_ms")?)?;
    config.net_ticktime = Duration::from_millis(u64::try_from(ticktime).ok()?);
    config.long_names = env.map_get(map, "long_names")? == atoms::get().t_true;
    Some((config, texts::text(node.0).into()))
}

fn stop(env: Env, _args: &[Term]) -> Term {
    sending(env, || hosting().stop_node());
    atoms::get().ok
}

/// The process that gets `{:pets_log, level, text}` from now on.
fn log_to(env: Env, args: &[Term]) -> Term {
    let Some(pid) = env.local_pid(args[0]) else { return env.bad_argument() };
    hosting().sink().set_logger(pid);
    atoms::get().ok
}

/// What handshakes prove from now on, a binary.
fn set_cookie(env: Env, args: &[Term]) -> Term {
    let cookie = env.binary_bytes(args[0]).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match (cookie, hosting().cnode()) {
        (Some(cookie), Some(node)) => node.set_cookie(cookie),
        (Some(_), None) => {}
        (None, _) => return env.bad_argument(),
    }
    atoms::get().ok
}

/// A map, or nil when no C-node runs.
fn info(env: Env, _args: &[Term]) -> Term {
    let Some(node) = hosting().cnode() else { return atoms::get().nil };
    let stats = node.stats();
    let number = |n: usize| env.integer(n as i64);
    env.map(&[
        ("name", env.binary(node.name().as_str().as_bytes())),
        ("port", number(node.address().port().into())),
        ("outgoing_calls_links", number(stats.outgoing_calls_links)),
        ("outgoing_bulk_links", number(stats.outgoing_bulk_links)),
        ("incoming_calls_links", number(stats.incoming_calls_links)),
        ("incoming_bulk_links", number(stats.incoming_bulk_links)),
        ("calls_in_flight", number(stats.calls_in_flight)),
        ("calls_waiting", number(hosting().calls_waiting())),
        ("bytes_sent", env.integer(stats.bytes_sent as i64)),
        ("bytes_received", env.integer(stats.bytes_received as i64)),
    ])
}
