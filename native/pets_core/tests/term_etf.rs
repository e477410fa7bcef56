//! The external term format, tag by tag, where today's VM writes another one or none.

use pets_core::term::atoms::test_vm::{self, atom};
use pets_core::term::etf::{self, DecodeError, Limits};
use pets_core::term::word::{self, Kind, NIL, small};

fn decode(parts: &[&[u8]]) -> Result<Vec<u64>, DecodeError> {
    test_vm::install();
    let bytes = parts.concat();
    let mut out = Vec::new();
    let read = etf::decode(&bytes, &mut out, &Limits::default())?;
    assert_eq!(read, bytes.len(), "all of it is read");
    Ok(out)
}

const fn header(kind: Kind, count: u64) -> u64 {
    word::header(kind, count)
}

#[test]
fn integers_take_their_one_form() {
    assert_eq!(decode(&[&[97, 255]]), Ok(vec![small(255)]));
    assert_eq!(decode(&[&[98, 255, 255, 255, 254]]), Ok(vec![small(-2)]));
    assert_eq!(decode(&[&[110, 0, 1]]), Ok(vec![small(0)]));
    assert_eq!(decode(&[&[110, 3, 1, 5, 0, 0]]), Ok(vec![small(-5)]));
    assert_eq!(decode(&[&[111, 0, 0, 0, 2, 0, 5, 1]]), Ok(vec![small(261)]));
    // The edges of small integers, 2^59 - 1 and -2^59, and what is beyond.
    let edge = |sign, low, high| decode(&[&[110, 8, sign, low], &[low; 6], &[high]]);
    assert_eq!(edge(0, 255, 7), Ok(vec![small(word::SMALL_MAX)]));
    assert_eq!(edge(1, 0, 8), Ok(vec![small(word::SMALL_MIN)]));
    assert_eq!(edge(0, 0, 8), Ok(vec![header(Kind::BigPositive, 1), 1 << 59]));
    let beyond = vec![header(Kind::BigPositive, 2), 0, 1];
    assert_eq!(decode(&[&[110, 10, 0], &[0; 8], &[1, 0]]), Ok(beyond));
}

#[test]
fn floats_are_finite() {
    let mut old = b"c1.50000000000000000000e+00".to_vec();
    old.resize(32, 0);
    assert_eq!(decode(&[&old]), Ok(vec![header(Kind::Float, 1), 1.5f64.to_bits()]));
    let zero = vec![header(Kind::Float, 1), (-0.0f64).to_bits()];
    assert_eq!(decode(&[&[70], &(-0.0f64).to_be_bytes()]), Ok(zero));
    for value in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(decode(&[&[70], &value.to_be_bytes()]), Err(DecodeError::Float));
    }
    let mut infinite = b"cinf".to_vec();
    infinite.resize(32, 0);
    assert_eq!(decode(&[&infinite]), Err(DecodeError::Float));
}

#[test]
fn atoms_of_all_tags() {
    let word = Ok(vec![atom("\u{e4}b")]);
    assert_eq!(decode(&[&[115, 2, 0xE4, b'b']]), word);
    assert_eq!(decode(&[&[100, 0, 2, 0xE4, b'b']]), word);
    assert_eq!(decode(&[&[119, 3, 0xC3, 0xA4, b'b']]), word);
    assert_eq!(decode(&[&[118, 0, 3, 0xC3, 0xA4, b'b']]), word);
    assert_eq!(decode(&[&[119, 2, 0xE4, b'b']]), Err(DecodeError::NotUtf8));
    let longest = "\u{1F600}".repeat(255);
    let bytes = longest.as_bytes();
    let tag = [118, (bytes.len() >> 8) as u8, bytes.len() as u8];
    assert_eq!(decode(&[&tag, bytes]), Ok(vec![atom(&longest)]));
    let mut back = Vec::new();
    etf::encode(&[atom(&longest)], &mut back).expect("a small term");
    assert_eq!(back, [&tag[..], bytes].concat());
    assert!(matches!(decode(&[&[118, 1, 0], &[b'a'; 256]]), Err(DecodeError::Atom(_))));
    assert!(matches!(decode(&[&[100, 1, 0], &[0xE4; 256]]), Err(DecodeError::Atom(_))));
}

#[test]
fn lists_become_one_list() {
    let list = |count| header(Kind::List, count);
    let one_two = Ok(vec![list(2), small(1), small(2)]);
    let count = |count| [108, 0, 0, 0, count];
    assert_eq!(decode(&[&[107, 0, 2, 1, 2]]), one_two);
    assert_eq!(decode(&[&[107, 0, 0]]), Ok(vec![NIL]));
    assert_eq!(decode(&[&count(2), &[97, 1, 97, 2, 106]]), one_two);
    assert_eq!(decode(&[&count(1), &[97, 1], &count(1), &[97, 2, 106]]), one_two);
    assert_eq!(decode(&[&count(1), &[97, 1, 107, 0, 1, 2]]), one_two);
    assert_eq!(decode(&[&count(0), &count(1), &[97, 1], &count(0), &[107, 0, 1, 2]]), one_two);
    let improper = Ok(vec![header(Kind::ImproperList, 2), small(1), small(2), small(3)]);
    assert_eq!(decode(&[&count(1), &[97, 1], &count(1), &[97, 2, 97, 3]]), improper);
    assert_eq!(decode(&[&count(0), &[97, 1]]), Ok(vec![small(1)]));
    // A list whose tail is a tuple, within a tuple: the count outside goes on.
    let nested = decode(&[&[104, 2], &count(1), &[97, 1, 104, 1, 97, 2, 97, 3]]);
    let inner = [header(Kind::ImproperList, 1), small(1), header(Kind::Tuple, 1), small(2)];
    assert_eq!(nested, Ok([&[header(Kind::Tuple, 2)], &inner[..], &[small(3)]].concat()));
}

#[test]
fn bits_beyond_the_length_do_not_count() {
    let three = Ok(vec![header(Kind::Bitstring, 3), 0b1110_0000]);
    assert_eq!(decode(&[&[77, 0, 0, 0, 1, 3, 255]]), three);
    let nine_bytes = vec![header(Kind::Bitstring, 65), u64::MAX, 0x80];
    assert_eq!(decode(&[&[77, 0, 0, 0, 9, 1], &[255; 9]]), Ok(nine_bytes));
    assert_eq!(decode(&[&[77, 0, 0, 0, 1, 8, 5]]), Ok(vec![header(Kind::Binary, 1), 5]));
    assert_eq!(decode(&[&[77, 0, 0, 0, 0, 0]]), Ok(vec![header(Kind::Binary, 0)]));
    for bytes in [[77, 0, 0, 0, 1, 9, 1], [77, 0, 0, 0, 1, 0, 1]] {
        assert_eq!(decode(&[&bytes]), Err(DecodeError::Bitstring));
    }
}

#[test]
fn identifiers_of_all_tags() {
    let there = [&[119, 3][..], b"a@h"].concat();
    let here = [&[119, 13][..], b"nonode@nohost"].concat();
    let a = atom("a@h");
    let pid = Ok(vec![header(Kind::Pid, 4), a, 3, 1, 2]);
    assert_eq!(decode(&[&[103], &there, &[0, 0, 0, 1, 0, 0, 0, 2, 3]]), pid);
    assert_eq!(decode(&[&[88], &there, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]]), pid);
    let local = Ok(vec![(2 << 28 | 1) << 4 | 3]);
    assert_eq!(decode(&[&[88], &here, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]]), local);
    let too_large = decode(&[&[88], &here, &[255, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]]);
    assert_eq!(too_large, Err(DecodeError::Identifier));
    // This node's name in another life is another node.
    let before = Ok(vec![header(Kind::Pid, 4), atom("nonode@nohost"), 9, 1, 2]);
    assert_eq!(decode(&[&[88], &here, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9]]), before);

    let port = Ok(vec![header(Kind::Port, 3), a, 3, 1]);
    assert_eq!(decode(&[&[102], &there, &[0, 0, 0, 1, 3]]), port);
    assert_eq!(decode(&[&[89], &there, &[0, 0, 0, 1, 0, 0, 0, 3]]), port);
    assert_eq!(decode(&[&[120], &there, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3]]), port);

    let reference = Ok(vec![header(Kind::Reference, 5), a, 3, 7, 0, 0]);
    assert_eq!(decode(&[&[101], &there, &[0, 0, 0, 7, 3]]), reference);
    assert_eq!(decode(&[&[114, 0, 1], &there, &[3, 0, 0, 0, 7]]), reference);
    assert_eq!(decode(&[&[90, 0, 1], &there, &[0, 0, 0, 3, 0, 0, 0, 7]]), reference);
    let padded = [0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(decode(&[&[90, 0, 4], &there, &padded]), reference);
    for count in [0, 6] {
        let refused = decode(&[&[90, 0, count], &there, &[0; 40]]);
        assert_eq!(refused, Err(DecodeError::Identifier));
    }
}

#[test]
fn what_is_not_accepted() {
    let mut out = Vec::new();
    let versioned =
        |bytes: &[u8], out: &mut _| etf::decode_versioned(bytes, out, &Limits::default());
    assert_eq!(versioned(&[131, 97, 7], &mut out), Ok(3));
    assert_eq!(versioned(&[130, 97, 7], &mut out), Err(DecodeError::Version(130)));
    assert_eq!(versioned(&[], &mut out), Err(DecodeError::Truncated));
    assert_eq!(out, [small(7)]);
    assert_eq!(decode(&[&[80, 0, 0, 0, 9, 120, 156]]), Err(DecodeError::Compressed));
    // The atom cache, local terms and the funs of old.
    for tag in [82, 121, 117, 131, 0, 255] {
        assert_eq!(decode(&[&[tag, 0, 0, 0, 0]]), Err(DecodeError::Tag(tag)));
    }
    let twice = decode(&[&[116, 0, 0, 0, 2, 97, 1, 97, 2, 97, 1, 97, 3]]);
    assert_eq!(twice, Err(DecodeError::DuplicateKey));
    let apart = [116, 0, 0, 0, 3, 97, 1, 97, 2, 97, 0, 97, 3, 97, 1, 97, 4];
    assert_eq!(decode(&[&apart]), Err(DecodeError::DuplicateKey));
}
