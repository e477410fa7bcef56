//! Whole clusters of ownership machines in one thread: random clients, joins, leaves, crashes,
//! broken links and splits, all decided by one seed.
//!
//! `PETS_SIM_SEEDS=100000` runs more seeds, `PETS_SIM_SEED=42` one, `PETS_SIM_TRACE=1` shows what
//! every machine is told and does.

mod absurd;
mod node;
mod rng;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Rules, World};

const CALM: Rules = Rules {
    steps: 600,
    nodes: 5,
    join: 0,
    leave: 0,
    crash: 0,
    breaks: 0,
    split: 0,
    founders: false,
};

fn simulate(test: &str, seeds: u64, rules: Rules) {
    each_seed(test, seeds, |seed| World::new(rules, seed).run());
}

fn each_seed(test: &str, seeds: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let range = match number("PETS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PETS_SIM_SEEDS").unwrap_or(seeds),
    };
    for seed in range {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "seed {seed} failed; repeat it with: PETS_SIM_SEED={seed} PETS_SIM_TRACE=1 \
                 cargo test -p pets_core --test ownership_sim {test} -- --exact --nocapture"
            );
            resume_unwind(cause);
        }
    }
}

#[test]
fn joins_and_leaves_lose_nothing() {
    simulate("joins_and_leaves_lose_nothing", 1_000, Rules { join: 100, leave: 100, ..CALM });
}

#[test]
fn broken_links_lose_nothing() {
    simulate(
        "broken_links_lose_nothing",
        1_000,
        Rules { join: 100, leave: 80, breaks: 250, ..CALM },
    );
}

#[test]
fn a_crash_loses_only_its_own_slots() {
    simulate(
        "a_crash_loses_only_its_own_slots",
        1_000,
        Rules { join: 150, leave: 50, crash: 100, breaks: 100, nodes: 6, ..CALM },
    );
}

#[test]
fn founders_that_meet_merge() {
    simulate(
        "founders_that_meet_merge",
        1_000,
        Rules { join: 150, leave: 50, breaks: 100, founders: true, ..CALM },
    );
}

#[test]
fn a_healed_split_merges() {
    simulate("a_healed_split_merges", 1_000, Rules { join: 80, breaks: 50, split: 80, ..CALM });
}

#[test]
fn whatever_happens_it_settles() {
    simulate(
        "whatever_happens_it_settles",
        1_000,
        Rules {
            join: 150,
            leave: 60,
            crash: 80,
            breaks: 150,
            split: 60,
            founders: true,
            nodes: 6,
            ..CALM
        },
    );
}

#[test]
fn absurd_messages_break_nothing() {
    each_seed("absurd_messages_break_nothing", 1_000, absurd::run);
}
