//! Times what is done with encoded terms, without a VM: `cargo bench -p pets_core --bench term`.
//!
//! To and from the external term format, the hash that places a key, and the order.

#[path = "../tests/generators/terms.rs"]
mod terms;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use pets_core::term::etf::{self, Limits};
use pets_core::term::{hash, order};
use terms::Term;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    shapes(&mut criterion);
    criterion.final_summary();
}

fn shapes(criterion: &mut Criterion) {
    for (shape, term) in samples() {
        let words = term.words();
        // Not the same memory, so that a comparison has to look.
        let other = words.clone();
        let mut bytes = Vec::new();
        etf::encode(&words, &mut bytes).expect("it can be sent");
        let limits = Limits::default();

        let mut bench = |name: &str, operation: &mut dyn FnMut()| {
            criterion
                .benchmark_group(format!("term/{name}"))
                .bench_function(BenchmarkId::from_parameter(shape), |b| b.iter(&mut *operation));
        };
        let mut encoded = Vec::new();
        bench("encode", &mut || {
            encoded.clear();
            etf::encode(black_box(&words), &mut encoded).expect("it can be sent");
        });
        let mut decoded = Vec::new();
        bench("decode", &mut || {
            decoded.clear();
            etf::decode(black_box(&bytes), &mut decoded, &limits).expect("it was encoded");
        });
        assert_eq!(decoded, words, "{shape}");
        bench("hash", &mut || {
            black_box(hash::hash_exact(black_box(&words)));
        });
        bench("order", &mut || {
            black_box(order::cmp(black_box(&words), black_box(&other)));
        });
    }
}

/// The shapes of `bench/suite/shapes.ex`, as far as they differ here.
fn samples() -> Vec<(&'static str, Term)> {
    let map = |pairs: i128| {
        let pair = |i| (Term::Atom(format!("field_{i}")), Term::Int(i));
        Term::Map((1..=pairs).map(pair).collect())
    };
    let tuple = |value| Term::Tuple(vec![Term::Int(42), value]);
    vec![
        ("int", Term::Int(42)),
        ("atom", Term::Atom("active".into())),
        ("16 bytes", Term::Binary(vec![7; 16])),
        ("int, int", tuple(Term::Int(7))),
        ("int, float", tuple(Term::Float(2.5))),
        ("int, list of 8", tuple(Term::List(vec![Term::Int(7); 8], Box::new(Term::Nil)))),
        ("int, map of 3", tuple(map(3))),
        ("int, map of 20", tuple(map(20))),
        ("int, 4 KB", tuple(Term::Binary(vec![7; 4_096]))),
    ]
}
