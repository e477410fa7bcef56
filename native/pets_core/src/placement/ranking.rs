use std::cmp::Ordering;
use std::sync::Arc;

use highway::{HighwayHash, Key, PortableHash};

use super::log::neg_log2;
use super::{NodeName, SLOTS, Slot};

/// The HighwayHash key of all draws. Part of the agreement between nodes, like [`SLOTS`].
const DRAW_KEY: Key = Key([
    0x5061_7274_6974_696f,
    0x6e65_6445_7473_2070,
    0x6c61_6365_6d65_6e74,
    0x2076_6572_7369_6f6e,
]);

/// For each slot the members in order of preference: weighted rendezvous hashing (HRW).
///
/// Each member draws a number `u` in (0, 1) for each slot, by HighwayHash over the slot and its
/// name, and scores `-weight / ln(u)`; the highest score owns the slot. The score of one member
/// does not depend on the others, so a member that comes or goes moves only the slots in which it
/// ranks first, and the shares follow the weights (Schindelhauer and Schomaker's logarithmic
/// method). Scores are compared by cross multiplication in integers, hence the ranking is the
/// same on every machine.
///
/// ```
/// use pets_core::placement::{NodeName, Ranking, Slot};
///
/// let members = [(NodeName::from("a@h"), 8), (NodeName::from("b@h"), 8)];
/// let ranking = Ranking::compute(&members);
/// let owner = ranking.owner(Slot::of(0)).expect("there are members");
/// assert_eq!(ranking.owners(Slot::of(0), 5).len(), 2);
/// assert_eq!(ranking.owners(Slot::of(0), 5)[0], owner);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    /// In order of name, each name once.
    members: Vec<Ranked>,
    /// For each slot the index in `members` of the first; empty when there are no members.
    owners: Vec<u16>,
}

#[derive(Clone, Debug)]
struct Ranked {
    name: NodeName,
    weight: u32,
    /// For each slot `-log2` of the draw; shared with the rankings computed from this one.
    draws: Arc<[u64]>,
}

impl Ranking {
    /// Ranks the members, each with its weight (its partition count), for all [`SLOTS`].
    ///
    /// The order of `members` does not matter; of two entries with one name the first counts. A
    /// weight of zero ranks behind everybody else. Costs about a millisecond for each member.
    pub fn compute(members: &[(NodeName, u32)]) -> Ranking {
        Ranking::default().recompute(members, SLOTS)
    }

    /// Ranks the members for the first `slots` slots, reusing the draws of those that this ranking
    /// already has.
    ///
    /// A ranking of another number of slots may be given; its draws are then made anew.
    #[must_use]
    pub fn recompute(&self, members: &[(NodeName, u32)], slots: usize) -> Ranking {
        let slots = slots.min(SLOTS);
        let mut ranked: Vec<Ranked> = members
            .iter()
            .map(|(name, weight)| Ranked {
                name: name.clone(),
                weight: *weight,
                draws: self.known_draws(name, slots).unwrap_or_else(|| draws(name, slots)),
            })
            .collect();
        ranked.sort_by(|a, b| a.name.cmp(&b.name));
        ranked.dedup_by(|later, first| later.name == first.name);
        // An index must fit the owners' array; no cluster comes near it.
        ranked.truncate(usize::from(u16::MAX));
        let owners = if ranked.is_empty() {
            Vec::new()
        } else {
            (0..slots).map(|slot| first(&ranked, slot)).collect()
        };
        Ranking { members: ranked, owners }
    }

    fn known_draws(&self, name: &NodeName, slots: usize) -> Option<Arc<[u64]>> {
        let at = self.members.binary_search_by(|ranked| ranked.name.cmp(name)).ok()?;
        let draws = &self.members[at].draws;
        (draws.len() == slots).then(|| Arc::clone(draws))
    }

    /// The member that should own the slot; `None` without members.
    pub fn owner(&self, slot: Slot) -> Option<&NodeName> {
        let index = *self.owners.get(slot.index())?;
        Some(&self.members[usize::from(index)].name)
    }

    /// The first `n` members for the slot, best first; fewer if there are fewer members.
    pub fn owners(&self, slot: Slot, n: usize) -> Vec<&NodeName> {
        if slot.index() >= self.owners.len() {
            return Vec::new();
        }
        let mut ranked: Vec<&Ranked> = self.members.iter().collect();
        ranked.sort_by(|a, b| preference(a, b, slot.index()));
        ranked.into_iter().take(n).map(|member| &member.name).collect()
    }

    /// The members with their weights, in order of name.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&NodeName, u32)> {
        self.members.iter().map(|member| (&member.name, member.weight))
    }
}

/// What a member draws for each slot.
fn draws(name: &NodeName, slots: usize) -> Arc<[u64]> {
    let mut input = vec![0; 2];
    input.extend_from_slice(name.as_str().as_bytes());
    (0..slots)
        .map(|slot| {
            input[..2].copy_from_slice(&(slot as u16).to_le_bytes());
            // The portable implementation, not the fastest one of this processor: they agree, and
            // this one has nothing that could be chosen differently elsewhere.
            neg_log2(PortableHash::new(DRAW_KEY).hash64(&input))
        })
        .collect()
}

fn first(members: &[Ranked], slot: usize) -> u16 {
    let best = (1..members.len()).fold(0, |best, index| {
        match preference(&members[index], &members[best], slot) {
            Ordering::Less => index,
            Ordering::Equal | Ordering::Greater => best,
        }
    });
    best as u16
}

/// `Less` when `a` is preferred to `b`: `a.weight / a.draw > b.weight / b.draw`, then by name.
fn preference(a: &Ranked, b: &Ranked, slot: usize) -> Ordering {
    let score_a = u128::from(a.weight) * u128::from(b.draws[slot]);
    let score_b = u128::from(b.weight) * u128::from(a.draws[slot]);
    score_b.cmp(&score_a).then_with(|| a.name.cmp(&b.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn members(weights: &[(&str, u32)]) -> Vec<(NodeName, u32)> {
        weights.iter().map(|&(name, weight)| (NodeName::from(name), weight)).collect()
    }

    fn shares(ranking: &Ranking) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for slot in Slot::all() {
            let owner = ranking.owner(slot).expect("there are members");
            *shares.entry(owner.to_string()).or_default() += 1;
        }
        shares
    }

    #[test]
    fn golden_owners() {
        // Changing one of these splits a cluster of old and new nodes: it needs a new protocol
        // version, not a new table.
        let ranking = Ranking::compute(&members(&[("a@h", 8), ("b@h", 8), ("c@h", 4)]));
        let owners: String = Slot::all()
            .step_by(64)
            .map(|slot| &ranking.owner(slot).expect("there are members").as_str()[..1])
            .collect();
        assert_eq!(owners, GOLDEN_OWNERS);
    }

    #[test]
    fn golden_draws() {
        let draws = draws(&NodeName::from("pets@127.0.0.1"), SLOTS);
        assert_eq!([draws[0], draws[1], draws[2048], draws[4095]], GOLDEN_DRAWS);
        let sum = draws.iter().fold(0_u64, |sum, draw| sum.rotate_left(7).wrapping_add(*draw));
        assert_eq!(sum, GOLDEN_SUM);
    }

    #[test]
    fn the_processor_s_own_highway_agrees() {
        let input = b"\x07\x00node@host";
        let portable = PortableHash::new(DRAW_KEY).hash64(input);
        assert_eq!(portable, highway::HighwayHasher::new(DRAW_KEY).hash64(input));
    }

    #[test]
    fn shares_follow_the_weights() {
        let nodes = [("n1@h", 4), ("n2@h", 8), ("n3@h", 8), ("n4@h", 16), ("n5@h", 4)];
        let total: u32 = nodes.iter().map(|(_, weight)| weight).sum();
        // One ranking has a spread of its own (4,096 draws); over many names it averages out.
        let mut sums: BTreeMap<u32, usize> = BTreeMap::new();
        const ROUNDS: usize = 40;
        for round in 0..ROUNDS {
            let named: Vec<(NodeName, u32)> = nodes
                .iter()
                .map(|(name, weight)| (NodeName::from(format!("{round}-{name}")), *weight))
                .collect();
            let ranking = Ranking::compute(&named);
            let shares = shares(&ranking);
            for (name, weight) in &named {
                let got = shares[name.as_str()];
                let expected = SLOTS as f64 * f64::from(*weight) / f64::from(total);
                assert!((got as f64 - expected).abs() < 5.0 * expected.sqrt(), "{name}: {got}");
                *sums.entry(*weight).or_default() += got;
            }
        }
        for (weight, sum) in sums {
            let holders = nodes.iter().filter(|(_, w)| *w == weight).count();
            let expected = (SLOTS * ROUNDS * holders) as f64 * f64::from(weight) / f64::from(total);
            assert!((sum as f64 - expected).abs() < 0.05 * expected, "{weight}: {sum}");
        }
    }

    #[test]
    fn a_member_that_comes_or_goes_moves_only_its_own_slots() {
        let three = members(&[("a@h", 8), ("b@h", 8), ("c@h", 3)]);
        let before = Ranking::compute(&three[..2]);
        let after = before.recompute(&three, SLOTS);
        let mut moved = 0;
        for slot in Slot::all() {
            if before.owner(slot) != after.owner(slot) {
                assert_eq!(after.owner(slot), Some(&three[2].0));
                moved += 1;
            }
        }
        let expected = SLOTS * 3 / 19;
        assert!(moved > expected * 8 / 10 && moved < expected * 12 / 10, "{moved}");
    }

    #[test]
    fn the_second_takes_over_from_the_first() {
        let all = members(&[("a@h", 8), ("b@h", 2), ("c@h", 3), ("d@h", 8)]);
        let ranking = Ranking::compute(&all);
        for slot in Slot::all() {
            let owners = ranking.owners(slot, 4);
            let rest: Vec<_> = all.iter().filter(|(name, _)| name != owners[0]).cloned().collect();
            assert_eq!(Ranking::compute(&rest).owner(slot), Some(owners[1]));
            if slot.index() > 200 {
                break;
            }
        }
    }

    #[test]
    fn neither_the_order_nor_a_reuse_changes_the_ranking() {
        let mut all = members(&[("a@h", 8), ("b@h", 2), ("c@h", 3), ("d@h", 8)]);
        let ranking = Ranking::compute(&all);
        all.reverse();
        let reversed = Ranking::compute(&all[1..]).recompute(&all, SLOTS);
        assert!(Slot::all().all(|slot| ranking.owner(slot) == reversed.owner(slot)));
        assert!(Slot::all().all(|slot| ranking.owners(slot, 3) == reversed.owners(slot, 3)));
    }

    #[test]
    fn nobody_owns_without_members_and_zero_weight_comes_last() {
        assert_eq!(Ranking::compute(&[]).owner(Slot::of(0)), None);
        assert!(Ranking::compute(&[]).owners(Slot::of(0), 3).is_empty());
        let ranking = Ranking::compute(&members(&[("a@h", 0), ("b@h", 1)]));
        assert!(Slot::all().all(|slot| ranking.owner(slot).expect("two").as_str() == "b@h"));
        let alone = Ranking::compute(&members(&[("a@h", 0)]));
        assert!(alone.owner(Slot::of(0)).is_some());
    }

    const GOLDEN_OWNERS: &str = "aabacccabababccaabcbcacbbabbcbaabbbbaabaacbbacbabbaabbaabababbba";
    const GOLDEN_DRAWS: [u64; 4] =
        [123_912_586_314, 3_659_635_217_558, 248_218_144_348, 130_964_887_802];
    const GOLDEN_SUM: u64 = 2_749_396_760_337_101_403;
}
