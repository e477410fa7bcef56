//! A binding without a VM, for the tests of this crate and of those that build on it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::{NodeIdentity, PidParts, Vm, word};

/// An atom table, and a node that can be renamed; local pids are numbered as in the 64-bit BEAM.
#[derive(Default)]
pub struct TestVm {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    texts: Vec<String>,
    words: HashMap<String, u64>,
    node: Option<(String, u32)>,
}

static TEST_VM: std::sync::LazyLock<TestVm> = std::sync::LazyLock::new(TestVm::default);

/// Installs the test binding if none is installed yet, and returns it.
pub fn install() -> &'static TestVm {
    super::install(&*TEST_VM);
    &TEST_VM
}

/// The word of an atom in the test binding.
pub fn atom(text: &str) -> u64 {
    install().atom_word(text).expect("a test's atom is not too long")
}

impl TestVm {
    /// Gives the node a name and a creation; before it is `nonode@nohost` with 0. Hashes of local
    /// pids, ports and references change with it, as in a real node.
    pub fn set_node(&self, name: &str, creation: u32) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).node =
            Some((name.to_owned(), creation));
    }
}

impl Vm for TestVm {
    fn atom_text(&self, word: u64) -> String {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.texts[word::atom_index(word) as usize].clone()
    }

    fn atom_word(&self, text: &str) -> Option<u64> {
        if text.chars().count() > 255 {
            return None;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(word) = state.words.get(text) {
            return Some(*word);
        }
        let word = word::atom(state.texts.len() as u64);
        state.texts.push(text.to_owned());
        state.words.insert(text.to_owned(), word);
        Some(word)
    }

    fn existing_atom_word(&self, text: &str) -> Option<u64> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.words.get(text).copied()
    }

    fn pid_to_parts(&self, word: u64) -> PidParts {
        let data = word >> 4;
        PidParts { id: (data & 0x0FFF_FFFF) as u32, serial: (data >> 28) as u32 }
    }

    fn pid_from_parts(&self, parts: PidParts) -> Option<u64> {
        if parts.id > 0x0FFF_FFFF {
            return None;
        }
        Some((u64::from(parts.serial) << 28 | u64::from(parts.id)) << 4 | 0x3)
    }

    fn port_to_id(&self, word: u64) -> u64 {
        word >> 4
    }

    fn port_from_id(&self, id: u64) -> Option<u64> {
        (id >> 60 == 0).then_some(id << 4 | 0x7)
    }

    fn node(&self) -> NodeIdentity {
        let (name, creation) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.node.clone().unwrap_or_else(|| ("nonode@nohost".to_owned(), 0))
        };
        let name = self.atom_word(&name).expect("a node's name is not too long");
        NodeIdentity { name, creation }
    }
}
