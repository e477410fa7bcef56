//! Times the operations of a table: `cargo run --release --example table_bench [rows ...]`.
//!
//! Nanoseconds for each operation, the pin of a read included. Keys are small integers, taken in a
//! scattered order. The time is taken for a few thousand operations at once, and of all these
//! slices the one at the first tenth is told: on a machine that has other things to do, that is
//! what the operation takes when nothing comes between.

use std::hint::black_box;
use std::time::Instant;

use pets_core::table::{Counted, Schema, SlotState, Table};
use pets_core::term::word::{Kind, header, small};

const SCHEMA: Schema = Schema::set(1);

const SLICES: usize = 400;
const OPERATIONS: usize = 5_000;

fn main() {
    let mut rows: Vec<usize> =
        std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    if rows.is_empty() {
        rows = vec![1_000, 1_000_000];
    }
    println!("{:>9} {:>7}  {:<26} {:>8}", "rows", "threads", "operation", "ns");
    for rows in rows {
        for threads in [1, 2] {
            measure(rows, threads);
        }
    }
}

fn measure(rows: usize, threads: usize) {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let start = Instant::now();
    for key in 0..rows {
        insert(&table, key, 0);
    }
    report(rows, threads, "fill", start.elapsed().as_nanos() as f64 / rows as f64);
    let bytes = table.memory_bytes() as f64 / rows as f64;
    println!("{rows:>9} {threads:>7}  {:<26} {bytes:>8.1}", "bytes for each row");

    let time = |name: &str, operation: &(dyn Fn(usize) + Sync)| {
        report(rows, threads, name, slices(rows, threads, operation));
    };
    time("nothing", &|key| {
        black_box(key);
    });
    time("pin", &|_| drop(black_box(pets_core::epoch::pin())));
    time("get", &|key| {
        let guard = pets_core::epoch::pin();
        let words = [small(key as i64)];
        let record = table.get(&SCHEMA.key(&words), &guard).expect("owned").expect("present");
        black_box(record.first().word(2));
    });
    time("get, absent", &|key| {
        let guard = pets_core::epoch::pin();
        let words = [small(-1 - key as i64)];
        assert!(table.get(&SCHEMA.key(&words), &guard).expect("owned").is_none());
    });
    time("overwrite in place", &|key| insert(&table, key, key as i64));
    time("overwrite, new record", &|key| {
        let words = [header(Kind::Tuple, 2), small(key as i64), header(Kind::Float, 1), 7];
        let object = SCHEMA.object(&words).expect("an object");
        table.insert(&object).expect("owned");
        insert(&table, key, 1);
    });
    time("add_to_counter", &|key| {
        let words = [small(key as i64)];
        let added = table.add_to_counter(&SCHEMA.key(&words), 2, 1).expect("owned");
        assert!(matches!(added, Counted::Value(_)));
    });
    time("add_to_counter, one key", &|_| {
        let words = [small(0)];
        let added = table.add_to_counter(&SCHEMA.key(&words), 2, 1).expect("owned");
        assert!(matches!(added, Counted::Value(_)));
    });
    // Two threads that remove each other's keys would find them absent: each has its own half.
    time("remove + insert", &|key| {
        let words = [small(key as i64)];
        table.remove(&SCHEMA.key(&words)).expect("owned");
        insert(&table, key, 1);
    });
    time("next", &|key| {
        let guard = pets_core::epoch::pin();
        let words = [small(key as i64)];
        black_box(table.next_after(&SCHEMA.key(&words), &guard).expect("owned"));
    });
}

fn insert(table: &Table, key: usize, value: i64) {
    let words = [header(Kind::Tuple, 2), small(key as i64), small(value)];
    table.insert(&SCHEMA.object(&words).expect("an object")).expect("owned");
}

/// Nanoseconds for each operation of one thread.
fn slices(rows: usize, threads: usize, operation: &(dyn Fn(usize) + Sync)) -> f64 {
    let run = |thread: usize| {
        let mut at = thread * rows / threads;
        let slice = |_| {
            let start = Instant::now();
            for _ in 0..OPERATIONS {
                // Scatters, and meets every row: the step shares no factor with round numbers.
                at += 618_031 % rows;
                if at >= rows {
                    at -= rows;
                }
                operation(at);
            }
            start.elapsed().as_nanos() as f64 / OPERATIONS as f64
        };
        (0..SLICES).map(slice).collect::<Vec<f64>>()
    };
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("nothing fails")).collect()
    });
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

fn report(rows: usize, threads: usize, name: &str, ns: f64) {
    println!("{rows:>9} {threads:>7}  {name:<26} {ns:>8.1}");
}
