//! What a real VM says of the same terms: `<`, `==`, `=:=`, and the external form.

use std::cmp::Ordering;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pets_core::term::etf::{self, Limits};
use pets_core::term::{hash, order, walk};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[path = "generators/terms.rs"]
mod terms;

const PAIRS: usize = 120_000;

/// Reads pairs of terms, each with its size in front, and writes one byte of answers for each
/// pair and what it calls the first term.
const SCRIPT: &str = r#"
[In, Out] = init:get_plain_arguments(),
{ok, Bytes} = file:read_file(In),
{ok, To} = file:open(Out, [write, raw, binary, {delayed_write, 1048576, 1000}]),
Bit = fun(true, N) -> 1 bsl N; (false, _) -> 0 end,
Loop = fun
    Loop(<<AS:32, A:AS/binary, BS:32, B:BS/binary, Rest/binary>>) ->
        X = binary_to_term(A),
        Y = binary_to_term(B),
        Answers = Bit(X < Y, 0) bor Bit(X == Y, 1) bor Bit(X =:= Y, 2),
        Back = term_to_binary(X),
        ok = file:write(To, <<Answers, (byte_size(Back)):32, Back/binary>>),
        Loop(Rest);
    Loop(<<>>) -> ok
end,
Loop(Bytes),
ok = file:close(To),
halt(0).
"#;

fn seed() -> [u8; 32] {
    let number = match std::env::var("PETS_SEED") {
        Ok(text) => text.parse().expect("PETS_SEED is a number"),
        Err(_) => u64::from(std::process::id()),
    };
    println!("repeat with: PETS_SEED={number} cargo test -p pets_core --test term_oracle");
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

#[test]
fn the_vm_agrees() {
    if Command::new("erl").arg("-version").output().is_err() {
        println!("SKIPPED: no `erl` on the PATH, so there is no VM to ask");
        return;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed());
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = terms::pair();
    let mut pairs = Vec::with_capacity(PAIRS);
    let mut input = Vec::new();
    for _ in 0..PAIRS {
        let tree = strategy.new_tree(&mut runner).expect("a strategy that rejects nothing");
        let (a, b, mixed) = tree.current();
        let two = [a.words(), b.words()];
        for words in &two {
            let mut bytes = Vec::new();
            etf::encode_versioned(words, &mut bytes).expect("a small term");
            input.extend((bytes.len() as u32).to_be_bytes());
            input.extend(bytes);
        }
        pairs.push((a, b, mixed, two));
    }
    let files = Files::new();
    fs::write(&files.input, &input).expect("a writable directory for temporary files");
    let run = Command::new("erl")
        .args(["-noshell", "-noinput", "-eval", SCRIPT, "-extra"])
        .args([&files.input, &files.output])
        .output()
        .expect("erl starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    let answers = fs::read(&files.output).expect("what the VM wrote");
    let mut rest = &answers[..];
    let (mut equal_bytes, mut unordered) = (0, 0);
    for (a, b, mixed, [x, y]) in pairs {
        let (flags, more) = rest.split_first().expect("an answer for each pair");
        let (size, more) = more.split_first_chunk::<4>().expect("a size");
        let (back, more) = more.split_at(u32::from_be_bytes(*size) as usize);
        rest = more;
        let vm_order = match (flags & 1 != 0, flags & 2 != 0) {
            (true, _) => Ordering::Less,
            (_, true) => Ordering::Equal,
            _ => Ordering::Greater,
        };
        // Two faults of the VM's order, which the generators' documentation describes.
        let faulty = [&a, &b]
            .into_iter()
            .any(|term| term.has_atom_key_in_key(false) || mixed && term.has_map_in_value(false));
        if faulty {
            unordered += 1;
        } else {
            assert_eq!(order::cmp(&x, &y), vm_order, "\n{a:?}\n{b:?}");
            assert_eq!(order::cmp(&y, &x), vm_order.reverse(), "\n{b:?}\n{a:?}");
        }
        assert_eq!(order::eq_loose(&x, &y), flags & 2 != 0, "==\n{a:?}\n{b:?}");
        assert_eq!(x == y, flags & 4 != 0, "=:=\n{a:?}\n{b:?}");
        if flags & 2 != 0 {
            assert_eq!(hash::hash_loose(&x), hash::hash_loose(&y), "\n{a:?}\n{b:?}");
        }
        let mut words = Vec::new();
        let read = etf::decode_versioned(back, &mut words, &Limits::default());
        assert_eq!(read, Ok(back.len()), "{a:?}");
        assert_eq!(words, x, "{a:?}");
        assert_eq!(walk::validate(&words), Ok(words.len()));
        let mut ours = Vec::new();
        etf::encode_versioned(&x, &mut ours).expect("a small term");
        equal_bytes += usize::from(ours == back);
    }
    assert!(rest.is_empty());
    // Strings and the order of pairs aside, the bytes are the VM's own.
    println!("{PAIRS} pairs; {equal_bytes} terms with the very bytes of term_to_binary/1");
    assert!(equal_bytes > PAIRS / 2);
    assert!(unordered < PAIRS / 5, "{unordered} pairs whose order was not looked at");
}

struct Files {
    input: PathBuf,
    output: PathBuf,
}

impl Files {
    fn new() -> Self {
        let file = |name: &str| {
            std::env::temp_dir().join(format!("pets_term_{}_{name}", std::process::id()))
        };
        Files { input: file("in"), output: file("out") }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left to the system's own housekeeping if that fails.
        let _ = fs::remove_file(&self.input);
        let _ = fs::remove_file(&self.output);
    }
}
