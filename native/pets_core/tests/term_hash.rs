//! The hash does not change, and spreads the keys that people use.

use pets_core::term::atoms::{Vm, test_vm};
use pets_core::term::hash::{hash_bytes, hash_exact, hash_loose};
use pets_core::term::word::{self, small};

#[path = "generators/terms.rs"]
mod terms;

use terms::Term;

/// Chi-square of these counts, in standard deviations from what chance would give.
fn deviation(counts: &[u32]) -> f64 {
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / counts.len() as f64;
    let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    let freedom = counts.len() as f64 - 1.0;
    (counts.iter().map(square).sum::<f64>() - freedom) / (2.0 * freedom).sqrt()
}

fn assert_spread(name: &str, keys: impl Iterator<Item = Vec<u64>>) {
    let mut windows = [vec![0; 4096], vec![0; 4096], vec![0; 4096], vec![0; 4096]];
    let mut all = std::collections::HashSet::new();
    let mut number = 0;
    for key in keys {
        let hash = hash_exact(&key);
        assert_eq!(hash, hash_loose(&key));
        all.insert(hash);
        number += 1;
        for (window, shift) in windows.iter_mut().zip([52, 40, 20, 0]) {
            window[(hash >> shift) as usize & 4095] += 1;
        }
    }
    assert_eq!(all.len(), number, "{name}: two keys with one hash");
    for (window, bits) in windows.iter().zip(["52..64", "40..52", "20..32", "0..12"]) {
        let deviation = deviation(window);
        // More even than chance is no fault.
        assert!(deviation < 5.0, "{name}: bits {bits} are off by {deviation:.1} deviations");
    }
}

#[test]
fn keys_spread_over_slots_and_within_them() {
    const N: i64 = 100_000;
    for step in [1, 2, 3, 7, 10, 16, 100, 1000, 1024, 4096, 65_536, 1_000_003, 1 << 30, 1 << 40] {
        assert_spread(&format!("integers by {step}"), (0..N).map(|n| vec![small(n * step)]));
    }
    assert_spread("negative integers", (0..N).map(|n| vec![small(-n)]));
    assert_spread(
        "times in microseconds",
        (0..N).map(|n| vec![small(1_760_000_000_000_000 + n * 1_000_000)]),
    );
    let of = |term: Term| term.words();
    assert_spread("words", (0..N).map(|n| of(Term::Binary(format!("user:{n}").into_bytes()))));
    assert_spread("numbers in text", (0..N).map(|n| of(Term::Binary(n.to_string().into_bytes()))));
    assert_spread("16 bytes", (0..N).map(|n| of(Term::Binary(format!("{n:016}").into_bytes()))));
    assert_spread("36 bytes", (0..N).map(|n| of(Term::Binary(format!("{n:036}").into_bytes()))));
    assert_spread("200 bytes", (0..N).map(|n| of(Term::Binary(format!("{n:0200}").into_bytes()))));
    assert_spread("atoms", (0..N).map(|n| vec![test_vm::atom(&format!("atom_{n}"))]));
    assert_spread("local pids", (0..N).map(|n| of(Term::Pid(None, n as u32, 0))));
    let (a, b) = (Term::Atom("user".to_owned()), |n| Term::Int(i128::from(n)));
    assert_spread("tuples", (0..N).map(|n| of(Term::Tuple(vec![a.clone(), b(n)]))));
    assert_spread("grid", (0..N).map(|n| of(Term::Tuple(vec![b(n % 316), b(n / 316)]))));
    let list = |n| Term::List(vec![b(n), b(n + 1)], Box::new(Term::Nil));
    assert_spread("lists", (0..N).map(|n| of(list(n))));
    assert_spread("maps", (0..N).map(|n| of(Term::Map(vec![(b(n % 300), b(n / 300))]))));
    assert_spread("floats", (0..N).map(|n| of(Term::Float(n as f64 + 0.5))));
    assert_spread("references", (0..N).map(|n| of(Term::Reference(None, vec![n as u32, 1, 2]))));
}

#[test]
fn each_bit_of_a_small_integer_changes_each_bit_of_the_hash_half_of_the_time() {
    const ROUNDS: usize = 4000;
    for bit in 0..60 {
        let mut flips = [0usize; 64];
        for n in 0..ROUNDS {
            let value = (n as i64).wrapping_mul(0x1234_5677_89AB_CDEF) >> 4;
            let word = small(value.clamp(word::SMALL_MIN, word::SMALL_MAX));
            let change = hash_exact(&[word]) ^ hash_exact(&[word ^ 1 << (4 + bit)]);
            flips
                .iter_mut()
                .enumerate()
                .for_each(|(at, count)| *count += (change >> at & 1) as usize);
        }
        for (at, count) in flips.iter().enumerate() {
            let share = *count as f64 / ROUNDS as f64;
            assert!((0.4..0.6).contains(&share), "bit {bit} changes bit {at} in {share} of cases");
        }
    }
}

#[test]
fn identifiers_hash_as_they_do_elsewhere() {
    test_vm::install();
    let this = Some(("nonode@nohost".to_owned(), 0));
    let pairs = [
        (Term::Pid(None, 7, 3), Term::Pid(this.clone(), 7, 3)),
        (Term::Port(None, 7), Term::Port(this.clone(), 7)),
        (Term::Reference(None, vec![1, 2, 3]), Term::Reference(this, vec![1, 2, 3])),
    ];
    for (here, elsewhere) in pairs {
        assert_eq!(hash_exact(&here.words()), hash_exact(&elsewhere.words()));
        let tuple = |term: &Term| Term::Tuple(vec![Term::Int(1), term.clone()]).words();
        assert_eq!(hash_loose(&tuple(&here)), hash_loose(&tuple(&elsewhere)));
    }
}

#[test]
fn the_order_in_which_atoms_were_made_does_not_count() {
    let vm = test_vm::install();
    let map = |first: &str, second: &str| {
        assert!(vm.atom_word(first) < vm.atom_word(second), "made in this order");
        let pair = |text: &str| (Term::Atom(text.to_owned()), Term::Int(text.len() as i128));
        Term::Map(vec![pair(first), pair(second)]).words()
    };
    let (x, y) = (map("first made", "x"), map("x", "made after x"));
    assert_ne!(hash_exact(&x), hash_exact(&y));
    // The sum over the pairs is what makes it so: the same pairs stored in the other order.
    let (header, pairs) = x.split_at(1);
    let turned = [header, &pairs[2..], &pairs[..2]].concat();
    assert_ne!(x, turned);
    assert_eq!(hash_exact(&x), hash_exact(&turned));
}

#[test]
fn golden_vectors() {
    let atom = |text: &str| Term::Atom(text.to_owned());
    let node = Some(("a@h".to_owned(), 3));
    let list = |elements, tail| Term::List(elements, Box::new(tail));
    let terms = [
        Term::Int(0),
        Term::Int(1),
        Term::Int(-1),
        Term::Int(1 << 59),
        Term::Int(-(1 << 100)),
        Term::Float(0.0),
        Term::Float(-0.0),
        Term::Float(1.0),
        Term::Float(1.5),
        Term::Float(1e300),
        atom(""),
        atom("true"),
        atom("\u{e5}ngstr\u{f6}m"),
        Term::Binary(vec![]),
        Term::Binary(b"key".to_vec()),
        Term::Binary(b"0123456789abcdef".to_vec()),
        Term::Binary((0..=255).collect()),
        Term::Bits(vec![0b1010_0000], 3),
        Term::Nil,
        list(vec![Term::Int(1), Term::Int(2)], Term::Nil),
        list(vec![Term::Int(1)], Term::Int(2)),
        Term::Tuple(vec![]),
        Term::Tuple(vec![atom("user"), Term::Int(7), Term::Float(7.0)]),
        Term::Map(vec![(Term::Int(1), atom("a")), (Term::Float(1.0), Term::Float(2.0))]),
        Term::Pid(None, 7, 1),
        Term::Pid(node.clone(), 7, 1),
        Term::Port(node.clone(), 7),
        Term::Reference(node, vec![1, 2, 3]),
        Term::Export("lists".to_owned(), "map".to_owned(), 2),
        Term::Fun("m".to_owned(), 1, 2, vec![Term::Int(1)]),
    ];
    let hashes: Vec<(u64, u64)> =
        terms.iter().map(|term| (hash_exact(&term.words()), hash_loose(&term.words()))).collect();
    let listing: String =
        hashes.iter().map(|(exact, loose)| format!("{exact:#018x}, {loose:#018x}\n")).collect();
    // Keys stay where they are only as long as these do. Never change them.
    assert_eq!(listing, include_str!("golden/hashes.txt"));
    assert_eq!(hash_bytes(b"true"), hash_exact(&[test_vm::atom("true")]));
}
