//! Our external term format against another implementation of it: what we write, eetf reads, and
//! what it writes again, we read as the same words.

use eetf::Term as Theirs;
use pets_core::term::etf::{self, Limits};
use proptest::prelude::*;

#[path = "generators/terms.rs"]
mod terms;

use terms::{Term, term};

/// Whether eetf can say the term: its maps have no keys that are equal but not the same, it takes
/// every list of small integers for a list of bytes, and it knows neither funs without their
/// creator nor the newer forms of identifiers.
fn is_known_to_both(term: &Term) -> bool {
    match term {
        Term::Nil
        | Term::Int(_)
        | Term::Float(_)
        | Term::Atom(_)
        | Term::Binary(_)
        | Term::Bits(..)
        | Term::Export(..) => true,
        Term::Tuple(elements) => elements.iter().all(is_known_to_both),
        Term::List(elements, tail) => {
            let is_other_integer = |element: &Term| match element {
                Term::Int(value) => !(0..=255).contains(value),
                _ => false,
            };
            !elements.iter().any(is_other_integer)
                && elements.iter().all(is_known_to_both)
                && is_known_to_both(tail)
        }
        Term::Map(pairs) => pairs.iter().all(|(key, value)| {
            matches!(key, Term::Nil | Term::Int(_) | Term::Atom(_) | Term::Binary(_))
                && is_known_to_both(value)
        }),
        Term::Pid(..) | Term::Port(..) | Term::Reference(..) | Term::Fun(..) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        max_global_rejects: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn another_implementation_reads_what_we_write_and_we_read_what_it_writes(term in term()) {
        prop_assume!(is_known_to_both(&term));
        let words = term.words();
        let mut ours = Vec::new();
        etf::encode_versioned(&words, &mut ours)?;

        let theirs = match Theirs::decode(ours.as_slice()) {
            Ok(theirs) => theirs,
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {ours:?}"))),
        };
        let mut again = Vec::new();
        if let Err(error) = theirs.encode(&mut again) {
            return Err(TestCaseError::fail(error.to_string()));
        }
        let mut back = Vec::new();
        etf::decode_versioned(&again, &mut back, &Limits::default())?;
        prop_assert_eq!(back, words);
    }
}
