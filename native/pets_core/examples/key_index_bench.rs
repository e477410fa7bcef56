//! Times the ordered index of keys against `scc::TreeIndex` with keys of the same kind and the same
//! order: `cargo run --release --example key_index_bench [number of keys | kind of keys ...]`.
//!
//! Nanoseconds for each operation, the pin of a read included; a scan for each key. Both are
//! measured in turn in each round, and the median of the rounds is told. Memory is what was asked
//! of the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Ordering as Order;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pets_core::table::key_index::KeyIndex;
use pets_core::term::atoms::test_vm;
use pets_core::term::hash::hash_exact;
use pets_core::term::order;
use pets_core::term::walk::append_words;
use pets_core::term::word::{Kind, header, is_immediate, small};
use scc::{Comparable, Equivalent, Guard, TreeIndex};

const ROUNDS: usize = 9;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

trait Subject: Sync {
    fn insert(&self, key: &[u64]) -> bool;
    fn remove(&self, key: &[u64]) -> bool;
    /// The first word of the next key.
    fn after(&self, key: &[u64]) -> Option<u64>;
    /// Goes through all keys; answers how many there are.
    fn scan(&self) -> usize;
    fn settle(&self);
}

impl Subject for KeyIndex {
    fn insert(&self, key: &[u64]) -> bool {
        KeyIndex::insert(self, key)
    }

    fn remove(&self, key: &[u64]) -> bool {
        KeyIndex::remove(self, key)
    }

    fn after(&self, key: &[u64]) -> Option<u64> {
        KeyIndex::after(self, key, &pets_core::epoch::pin()).map(|key| key.words()[0])
    }

    fn scan(&self) -> usize {
        let guard = pets_core::epoch::pin();
        self.ascending(Bound::Unbounded, &guard).map(|key| key.words()[0]).fold(0, |n, word| {
            black_box(word);
            n + 1
        })
    }

    fn settle(&self) {
        (0..1000).for_each(|_| pets_core::epoch::pin().flush());
    }
}

/// A key for `TreeIndex`: an immediate as it is, any other in a box.
#[derive(Clone)]
enum OwnKey {
    Immediate(u64),
    Words(Box<[u64]>),
}

struct Probe<'a>(&'a [u64]);

impl OwnKey {
    fn new(key: &[u64]) -> Self {
        match *key {
            [word] if is_immediate(word) => OwnKey::Immediate(word),
            _ => OwnKey::Words(key.into()),
        }
    }

    fn words(&self) -> &[u64] {
        match self {
            OwnKey::Immediate(word) => std::slice::from_ref(word),
            OwnKey::Words(words) => words,
        }
    }
}

impl PartialEq for OwnKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OwnKey {}

impl PartialOrd for OwnKey {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for OwnKey {
    fn cmp(&self, other: &Self) -> Order {
        order::cmp(self.words(), other.words())
    }
}

impl Equivalent<OwnKey> for Probe<'_> {
    fn equivalent(&self, key: &OwnKey) -> bool {
        self.compare(key).is_eq()
    }
}

impl Comparable<OwnKey> for Probe<'_> {
    fn compare(&self, key: &OwnKey) -> Order {
        order::cmp(self.0, key.words())
    }
}

impl Subject for TreeIndex<OwnKey, ()> {
    fn insert(&self, key: &[u64]) -> bool {
        self.insert_sync(OwnKey::new(key), ()).is_ok()
    }

    fn remove(&self, key: &[u64]) -> bool {
        self.remove_sync(&Probe(key))
    }

    fn after(&self, key: &[u64]) -> Option<u64> {
        let guard = Guard::new();
        let range = (Bound::Excluded(Probe(key)), Bound::Unbounded);
        self.range::<Probe<'_>, _>(range, &guard).next().map(|(key, ())| key.words()[0])
    }

    fn scan(&self) -> usize {
        let guard = Guard::new();
        self.iter(&guard).map(|(key, ())| key.words()[0]).fold(0, |n, word| {
            black_box(word);
            n + 1
        })
    }

    fn settle(&self) {
        (0..1000).for_each(|_| Guard::new().accelerate());
    }
}

fn random(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

fn binary(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![header(Kind::Binary, bytes.len() as u64)];
    append_words(bytes, &mut words);
    words
}

type MakeKey = fn(u64) -> Vec<u64>;

const KINDS: [(&str, MakeKey); 5] = [
    ("random integer", |n| vec![small((random(n) >> 6) as i64)]),
    ("integer in order", |n| vec![small(n as i64)]),
    ("random binary of 16", |n| {
        binary(&[random(n).to_be_bytes(), random(!n).to_be_bytes()].concat())
    }),
    ("\"customer:\" and 7 digits", |n| {
        binary(format!("customer:{:07}", random(n) % 10_000_000).as_bytes())
    }),
    ("{atom, random integer}", |n| {
        vec![header(Kind::Tuple, 2), test_vm::atom("orders"), small((random(n) >> 6) as i64)]
    }),
];

fn main() {
    test_vm::install();
    let mut counts: Vec<usize> =
        std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![1_000, 1_000_000];
    }
    println!(
        "{:>8}  {:<24} {:<26} {:>9} {:>9} {:>6}",
        "keys", "kind", "operation", "KeyIndex", "TreeIndex", "ratio"
    );
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| arg.parse::<usize>().is_err()).collect();
    for count in counts {
        for (kind, make) in KINDS {
            if wanted.is_empty() || wanted.iter().any(|wanted| kind.contains(wanted.as_str())) {
                measure(count, kind, make);
            }
        }
    }
}

fn measure(count: usize, kind: &str, make: MakeKey) {
    // A tenth more, which comes and goes.
    let extra = (count / 10).max(100);
    let mut seen = std::collections::HashSet::new();
    let all = (0..).map(make).filter(|key| seen.insert(hash_exact(key)));
    let all: Vec<Vec<u64>> = all.take(count + extra).collect();
    // Also what comes in order is spread over the others.
    let (present, absent): (Vec<_>, Vec<_>) =
        all.into_iter().enumerate().partition(|(n, _)| n % 11 > 0);
    let strip = |keys: Vec<(usize, Vec<u64>)>| keys.into_iter().map(|(_, key)| key).collect();
    let (present, absent): (Vec<Vec<u64>>, Vec<Vec<u64>>) = (strip(present), strip(absent));
    drop(seen);

    let ours = KeyIndex::new();
    let other = TreeIndex::<OwnKey, ()>::new();
    let tell = |operation: &str, ours: f64, other: f64| {
        let ratio = other / ours;
        println!("{count:>8}  {kind:<24} {operation:<26} {ours:>9.1} {other:>9.1} {ratio:>6.2}");
    };
    let subjects: [&dyn Subject; 2] = [&ours, &other];
    let mut filled = [[0.0; 2]; 2];
    for (subject, filled) in subjects.into_iter().zip(&mut filled) {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let start = Instant::now();
        present.iter().for_each(|key| assert!(subject.insert(key)));
        filled[0] = start.elapsed().as_nanos() as f64 / present.len() as f64;
        subject.settle();
        let bytes = ALLOCATED.load(Ordering::Relaxed) - before;
        filled[1] = bytes as f64 / present.len() as f64;
    }
    tell("fill", filled[0][0], filled[1][0]);
    tell("bytes for each key", filled[0][1], filled[1][1]);
    let said = ours.memory_bytes(&pets_core::epoch::pin()) as f64 / present.len() as f64;
    println!("{count:>8}  {kind:<24} {:<26} {said:>9.1}", "  as it says itself");

    type Operation = (&'static str, usize, fn(&dyn Subject, &[u64]));
    let insert: fn(&dyn Subject, &[u64]) = |subject, key| assert!(subject.insert(key));
    let remove: fn(&dyn Subject, &[u64]) = |subject, key| assert!(subject.remove(key));
    let after: fn(&dyn Subject, &[u64]) = |subject, key| {
        black_box(subject.after(key));
    };
    let operations: [Operation; 6] = [
        ("insert absent", 1, insert),
        ("after", 1, after),
        ("remove", 1, remove),
        ("insert absent, 2 threads", 2, insert),
        ("after, 2 threads", 2, after),
        ("remove, 2 threads", 2, remove),
    ];
    let mut times = [const { [const { Vec::new() }; 2] }; 6];
    let mut scans = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for ((_, threads, operation), times) in operations.iter().zip(&mut times) {
            for (subject, times) in subjects.iter().zip(times) {
                times.push(slice(*subject, &absent, *threads, *operation));
            }
        }
        for (subject, scans) in subjects.iter().zip(&mut scans) {
            let start = Instant::now();
            assert_eq!(subject.scan(), present.len());
            scans.push(start.elapsed().as_nanos() as f64 / present.len() as f64);
        }
    }
    for ((name, ..), times) in operations.iter().zip(&mut times) {
        let [ours, other] = times;
        tell(name, median(ours), median(other));
    }
    let [ours, other] = &mut scans;
    tell("scan", median(ours), median(other));
}

/// Nanoseconds for each operation of one thread.
fn slice(
    subject: &dyn Subject,
    keys: &[Vec<u64>],
    threads: usize,
    operation: fn(&dyn Subject, &[u64]),
) -> f64 {
    let run = |thread: usize| {
        let mine: Vec<_> = keys.iter().skip(thread).step_by(threads).collect();
        let start = Instant::now();
        mine.iter().for_each(|key| operation(subject, key));
        start.elapsed().as_nanos() as f64 / mine.len() as f64
    };
    if threads == 1 {
        return run(0);
    }
    let times: Vec<f64> = std::thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("nothing fails")).collect()
    });
    times.iter().sum::<f64>() / threads as f64
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
