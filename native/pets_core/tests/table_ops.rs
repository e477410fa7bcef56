//! The general form of every operation against what `:ets` answers to the same calls.
//!
//! The random programs come from `oracle/table_ops.escript`, run by the Erlang on the `PATH`;
//! without one that test says so and passes. `PETS_SEED=n` repeats a run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use num_bigint::{BigInt, Sign};
use pets_core::placement::Slot;
use pets_core::table::{
    Cause, Cursor, OpCode, OpError, Schema, SlotState, Table, TableType, Unserved, Why, execute,
    op::Slots, slots_of,
};
use pets_core::term::atoms::test_vm::{self, atom};
use pets_core::term::word::{Kind, NIL, header, push_integer, small};

const SCHEMA: Schema = Schema::set(1);

const PROGRAMS: &str = "1500";

/// Reads one term in the oracle's prefix notation.
fn read_term<'a>(tokens: &mut impl Iterator<Item = &'a str>, out: &mut Vec<u64>) {
    let token = tokens.next().expect("a term");
    let (tag, rest) = token.split_at(1);
    let count = || rest.parse::<u64>().unwrap();
    let mut read_all = |out: &mut Vec<u64>, kind, terms: u64| {
        out.push(header(kind, count()));
        for _ in 0..terms {
            read_term(&mut *tokens, out);
        }
    };
    match tag {
        "i" => read_integer(rest, out),
        "a" => out.push(atom(rest)),
        "f" => out.extend([header(Kind::Float, 1), count()]),
        "b" => {
            out.push(header(Kind::Binary, rest.len() as u64 / 2));
            for word in rest.as_bytes().chunks(16) {
                let byte = |hex: &[u8]| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16);
                let mut bytes = [0; 8];
                for (to, hex) in bytes.iter_mut().zip(word.chunks(2)) {
                    *to = byte(hex).unwrap();
                }
                out.push(u64::from_le_bytes(bytes));
            }
        }
        "n" => out.push(NIL),
        "l" => read_all(out, Kind::List, count()),
        "m" => read_all(out, Kind::ImproperList, count() + 1),
        "t" => read_all(out, Kind::Tuple, count()),
        _ => panic!("no term: {token}"),
    }
}

fn read_integer(text: &str, out: &mut Vec<u64>) {
    let value: BigInt = text.parse().unwrap();
    match i64::try_from(&value) {
        Ok(value) => push_integer(out, value.into()),
        Err(_) => {
            let minus = value.sign() == Sign::Minus;
            let kind = if minus { Kind::BigNegative } else { Kind::BigPositive };
            let words = value.iter_u64_digits();
            out.push(header(kind, words.len() as u64));
            out.extend(words);
        }
    }
}

fn term(text: &str) -> Vec<u64> {
    test_vm::install();
    let mut words = Vec::new();
    read_term(&mut text.split_ascii_whitespace(), &mut words);
    words
}

#[test]
fn every_operation_answers_what_ets_answers() {
    let seed = std::env::var("PETS_SEED").unwrap_or_else(|_| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        now.subsec_nanos().to_string()
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/table_ops.escript");
    let output = match Command::new("escript").args([script, &seed, PROGRAMS]).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: there is no escript here ({error})"),
    };
    let repeat = format!("PETS_SEED={seed} cargo test -p pets_core --test table_ops");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut table = Table::new(SCHEMA, SlotState::Owned);
    let mut checked = 0;
    for line in str::from_utf8(&output.stdout).unwrap().lines() {
        let (first, rest) = line.split_once(' ').unwrap();
        let mut tokens = rest.split_ascii_whitespace();
        match first {
            "new" => {
                let table_type = TableType::from_name(tokens.next().unwrap()).unwrap();
                let keypos = tokens.next().unwrap().parse().unwrap();
                table = Table::new(Schema::new(table_type, keypos), SlotState::Owned);
            }
            "content" => {
                let mut list = Vec::new();
                read_term(&mut tokens, &mut list);
                let mut expected: Vec<_> =
                    pets_core::term::walk::Elements::of(&list).map(<[u64]>::to_vec).collect();
                expected.sort_unstable();
                assert_eq!(content(&table), expected, "contents differ; repeat: {repeat}");
            }
            number => {
                let op = OpCode::try_from(number.parse::<u8>().unwrap()).unwrap();
                let mut args = Vec::new();
                read_term(&mut tokens, &mut args);
                let list = matches!(op, OpCode::InsertMany | OpCode::InsertNewMany);
                let expected = match tokens.next().unwrap() {
                    "0" => {
                        let mut result = Vec::new();
                        read_term(&mut tokens, &mut result);
                        Ok(result)
                    }
                    _ => {
                        let cause: u8 = tokens.next().unwrap().parse().unwrap();
                        Err(OpError::BadArgument(Cause::try_from(cause).unwrap()))
                    }
                };
                let mut out = vec![7];
                let result = execute(&table, op, &args, &mut out).map(|()| out[1..].to_vec());
                assert_eq!(result, expected, "{op:?}: {line}\nrepeat: {repeat}");
                assert!(result.is_ok() || out == [7], "{op:?} left something behind");
                if !list && result.is_ok() {
                    slots_of(op, &args, table.schema()).expect("what can be done has its slots");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 10_000);
}

/// All objects, sorted by their words.
fn content(table: &Table) -> Vec<Vec<u64>> {
    let mut objects: Vec<Vec<u64>> = Vec::new();
    table.scan(Cursor::START, usize::MAX, &pets_core::epoch::pin(), |record| {
        objects.push(record.words().collect());
    });
    objects.sort_unstable();
    objects
}

fn run(table: &Table, op: OpCode, args: &str) -> Result<Vec<u64>, OpError> {
    let mut out = Vec::new();
    execute(table, op, &term(args), &mut out).map(|()| out)
}

#[test]
fn a_default_that_ends_before_the_key_is_a_bad_argument() {
    let table = Table::new(Schema::set(2), SlotState::Owned);
    let bad = Err(OpError::BadArgument(Cause::None));
    let position = Err(OpError::BadArgument(Cause::Position));
    assert_eq!(run(&table, OpCode::UpdateCounter, "t3 ak n t1 ax"), bad);
    assert_eq!(run(&table, OpCode::UpdateCounter, "t3 ak t2 i1 i1 t1 i5"), bad);
    assert_eq!(run(&table, OpCode::UpdateCounter, "t3 ak i1 t1 i5"), position);
    assert_eq!(run(&table, OpCode::UpdateElement, "t3 ak n t0"), bad);
    assert_eq!(run(&table, OpCode::UpdateElement, "t3 ak t2 i1 ay t1 ax"), bad);
    assert!(table.is_empty());
    // It does not matter where the key is there.
    run(&table, OpCode::Insert, "t1 t3 i1 ak i1").unwrap();
    assert_eq!(run(&table, OpCode::UpdateCounter, "t3 ak i1 t0"), Ok(vec![small(2)]));
}

#[test]
fn of_two_objects_with_one_key_in_a_list_the_last_one_stays() {
    for op in [OpCode::InsertMany, OpCode::InsertNewMany] {
        let table = Table::new(SCHEMA, SlotState::Owned);
        assert_eq!(run(&table, op, "t1 l3 t2 ak i1 t1 i7 t2 ak i2"), Ok(term("atrue")));
        assert_eq!(run(&table, OpCode::Lookup, "t1 ak"), Ok(term("l1 t2 ak i2")));
    }
}

#[test]
fn arguments_of_the_wrong_shape_are_refused() {
    let table = Table::new(SCHEMA, SlotState::Owned);
    let bad = Err(OpError::BadArgument(Cause::None));
    for number in 0..=u8::MAX {
        let Ok(op) = OpCode::try_from(number) else { continue };
        assert_eq!(op as u8, number);
        for args in ["t4 i1 i1 i1 i1", "ax", "l1 i1", "n"] {
            assert_eq!(run(&table, op, args), bad, "{op:?} {args}");
            if op != OpCode::DeleteAll {
                assert!(slots_of(op, &term(args), SCHEMA).is_err());
            }
        }
    }
    assert_eq!(run(&table, OpCode::MemberMany, "t1 m1 i1 i2"), bad);
    assert_eq!(OpCode::try_from(0).unwrap_err().to_string(), "0 stands for nothing here");
}

#[test]
fn an_operation_tells_its_slots() {
    let key = |n: i64| SCHEMA.key(&[small(n)]).slot();
    let slots = |op, args: &str| slots_of(op, &term(args), Schema::set(2)).unwrap();
    assert_eq!(slots(OpCode::Lookup, "t1 i5"), Slots::One(key(5)));
    assert_eq!(slots(OpCode::UpdateCounter, "t2 i5 i1"), Slots::One(key(5)));
    assert_eq!(slots(OpCode::Insert, "t1 t2 ax i5"), Slots::One(key(5)));
    let mut both = vec![key(5), key(6)];
    both.sort_unstable();
    let list = "t1 l3 t2 ax i5 t2 ay i6 t2 az i5";
    assert_eq!(slots(OpCode::InsertMany, list), Slots::Many(both.clone()));
    assert_eq!(slots(OpCode::MemberMany, "t1 l3 i6 i5 i6"), Slots::Many(both));
    assert_eq!(slots(OpCode::InsertNewMany, "t1 n"), Slots::Many(vec![]));
    assert_eq!(slots(OpCode::DeleteAll, "t0"), Slots::All);
}

#[test]
fn a_slot_of_another_node_refuses_every_operation_on_it() {
    let table = Table::new(SCHEMA, SlotState::Foreign);
    let slot = Slot::of(SCHEMA.key(&[small(5)]).hash);
    let elsewhere = Err(OpError::Unserved(Unserved { slot, why: Why::Elsewhere }));
    for (op, args) in [
        (OpCode::Lookup, "t1 i5"),
        (OpCode::LookupElement, "t3 i5 i1 i0"),
        (OpCode::Member, "t1 i5"),
        (OpCode::Insert, "t1 t1 i5"),
        (OpCode::InsertMany, "t1 l1 t1 i5"),
        (OpCode::InsertNew, "t1 t1 i5"),
        (OpCode::InsertNewMany, "t1 l1 t1 i5"),
        (OpCode::Delete, "t1 i5"),
        (OpCode::DeleteObject, "t1 t1 i5"),
        (OpCode::Take, "t1 i5"),
        (OpCode::UpdateCounter, "t3 i5 i1 t2 i5 i5"),
        (OpCode::UpdateElement, "t3 i5 n t2 i5 i5"),
        (OpCode::MemberMany, "t1 l1 i5"),
    ] {
        assert_eq!(run(&table, op, args), elsewhere, "{op:?}");
    }
    assert_eq!(run(&table, OpCode::DeleteAll, "t0"), Ok(term("atrue")));
    assert_eq!(table.slot_len(slot), 0);
}
