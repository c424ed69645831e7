//! The attacks of `cargo xtask attack`: one file each, in the order in which they run and are reported. An attack is a
//! name, what it does in words, and a function that prepares what its process then does until it is ended. A new one is a
//! file and a line in [`ALL`]. Does not depend on how the server is started and what its honest users measure meanwhile.

mod attack;
mod attacker;
mod captured_repeats;
mod dripping;
mod hanging_names;
mod header_list;
mod honest;
mod informational;
mod junk;
mod leash;
mod many_endpoints;
mod neighbour;
mod run;
mod script;
mod signature_list;
mod signed;
mod target;
mod unfinished;
mod unknown_fields;
mod unread_answers;
mod verdict;
mod wrong_keys;

pub use attacker::{Attacker, run as attacker};
pub use neighbour::ATTACK as NEIGHBOUR;
pub use run::{Attempt, beside, run};
pub use target::Target;

use attack::Attack;

/// Every attack, in order.
pub static ALL: &[Attack] = &[
    signature_list::ATTACK,
    hanging_names::ATTACK,
    unread_answers::ATTACK,
    unfinished::HEADS,
    unfinished::AGENTS,
    unfinished::BODIES,
    dripping::BATCHES,
    dripping::IMPORTS,
    header_list::ATTACK,
    informational::ATTACK,
    many_endpoints::ATTACK,
    NEIGHBOUR,
    captured_repeats::ATTACK,
    wrong_keys::ATTACK,
    unknown_fields::ATTACK,
    junk::ATTACK,
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|attack| attack.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
