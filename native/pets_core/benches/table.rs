//! Times the operations of a table, without a VM: `cargo bench -p pets_core --bench table`.
//!
//! What is told is the time of one operation of one thread, the pin of a read included, in a table
//! of small integers that are asked for in a scattered order. Two threads have keys of their own.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use pets_core::epoch;
use pets_core::table::{Counted, Cursor, ScanEnd, Schema, SlotState, Table};
use pets_core::term::word::{Kind, header, small};

const SCHEMA: Schema = Schema::set(1);
const ROWS: [usize; 2] = [1_000, 1_000_000];
const THREADS: [usize; 2] = [1, 2];
/// Shares no factor with round numbers: each row is met.
const STEP: usize = 618_031;
/// What a scan shows before it lets go of its guard.
const SCAN_WORDS: usize = 4_096;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    operations(&mut criterion);
    scans(&mut criterion);
    fills(&mut criterion);
    criterion.final_summary();
}

fn operations(criterion: &mut Criterion) {
    for rows in ROWS {
        let table = filled(rows);
        let mut group = criterion.benchmark_group(format!("table/{rows}"));
        let mut time = |name: &str, operation: &(dyn Fn(usize) + Sync)| {
            for threads in THREADS {
                group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                    bencher.iter_custom(|count| elapsed(rows, threads, count, operation));
                });
            }
        };
        time("nothing", &|key| {
            black_box(key);
        });
        time("pin", &|_| drop(black_box(epoch::pin())));
        time("get", &|key| {
            let guard = epoch::pin();
            let words = [small(key as i64)];
            let entry = table.get(&SCHEMA.key(&words), &guard).expect("owned").expect("present");
            black_box(entry.first().word(2));
        });
        time("get, absent", &|key| {
            let guard = epoch::pin();
            let words = [small(-1 - key as i64)];
            assert!(table.get(&SCHEMA.key(&words), &guard).expect("owned").is_none());
        });
        time("put in place", &|key| put(&table, key, key as i64));
        time("put, new record", &|key| {
            let words = [header(Kind::Tuple, 2), small(key as i64), header(Kind::Float, 1), 7];
            table.insert(&SCHEMA.object(&words).expect("an object")).expect("owned");
            put(&table, key, 1);
        });
        time("add to counter", &|key| count(&table, key));
        time("add to one counter", &|_| count(&table, 0));
        // Two threads that remove each other's keys would find them absent: each has its own half.
        time("remove and insert", &|key| {
            let words = [small(key as i64)];
            table.remove(&SCHEMA.key(&words)).expect("owned");
            put(&table, key, 1);
        });
        time("next", &|key| {
            let guard = epoch::pin();
            let words = [small(key as i64)];
            black_box(table.next_after(&SCHEMA.key(&words), &guard).expect("owned"));
        });
    }
}

/// Whole tables, in steps as a call of the VM makes them.
fn scans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for rows in ROWS {
        let table = filled(rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter(|| {
                let mut seen = 0;
                let mut cursor = Cursor::START;
                loop {
                    let guard = epoch::pin();
                    let end = table.scan(cursor, SCAN_WORDS, &guard, |record| {
                        black_box(record.word(2));
                        seen += 1;
                    });
                    match end {
                        ScanEnd::More(next) => cursor = next,
                        ScanEnd::Done => break,
                        ScanEnd::Blocked(..) => unreachable!("every slot is owned"),
                    }
                }
                assert_eq!(seen, rows);
            });
        });
    }
}

/// From an empty table on, growth included; to drop the table is not.
fn fills(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fill");
    group.sample_size(10);
    for rows in ROWS {
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter_with_large_drop(|| filled(rows));
        });
    }
}

fn filled(rows: usize) -> Table {
    let table = Table::new(SCHEMA, SlotState::Owned);
    for key in 0..rows {
        put(&table, key, 0);
    }
    table
}

fn put(table: &Table, key: usize, value: i64) {
    let words = [header(Kind::Tuple, 2), small(key as i64), small(value)];
    table.insert(&SCHEMA.object(&words).expect("an object")).expect("owned");
}

fn count(table: &Table, key: usize) {
    let words = [small(key as i64)];
    let added = table.add_to_counter(&SCHEMA.key(&words), 2, 1).expect("owned");
    assert!(matches!(added, Counted::Value(_)));
}

/// The longest time that one of the threads needs for `count` operations. They start together.
fn elapsed(
    rows: usize,
    threads: usize,
    count: u64,
    operation: &(dyn Fn(usize) + Sync),
) -> Duration {
    let start = Barrier::new(threads);
    let share = rows / threads;
    let run = |thread: usize| {
        let mut at = 0;
        start.wait();
        let started = Instant::now();
        for _ in 0..count {
            at += STEP % share;
            if at >= share {
                at -= share;
            }
            operation(thread * share + at);
        }
        started.elapsed()
    };
    std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no operation panics"))
            .max()
            .expect("there is a thread")
    })
}
