//! What a request to a source that does not exist is checked as: a source of some dialect with a secret that nobody has,
//! through the very code that checks real ones. So neither the answer nor the time it takes tells which sources exist.
//! Does not know what an id looks like, and what becomes of the check: nothing, it never lets anybody in.

use data_encoding::BASE64;
use ring::hmac;

use crate::dialect::signature;
use crate::model::secret::Credential;
use crate::model::{DialectName, Mac, Secret};

/// Keeps the decoys' secret and their choice apart from every other use of the store's key.
const SECRET: &[u8] = b"decoy secret";
const CHOICE: &[u8] = b"decoy of ";

/// One source that does not exist.
#[derive(Debug)]
pub struct Decoy {
    /// The dialect that it speaks.
    pub dialect: DialectName,
    /// What its requests are checked with.
    pub credential: Credential,
}

/// A decoy of every kind of credential. All nodes of a store have the same.
#[derive(Debug)]
pub struct Decoys(Vec<Decoy>);

impl Decoys {
    /// The decoys under a store's key.
    pub fn new(link_key: &hmac::Key) -> Self {
        let secret = *Mac::over(link_key, &[SECRET]).as_bytes();
        let private = format!("whsk_{}", BASE64.encode(&secret));
        let decoy = |dialect, secret: Vec<u8>| Decoy {
            dialect,
            credential: Credential::of_secret(Secret::new(secret)),
        };
        let public = signature::public_key(&private).unwrap_or_else(|| private.clone());
        let token = Credential::of_bearer(Secret::new(BASE64.encode(&secret)));
        Self(vec![
            decoy(DialectName::Voicegenie, secret.to_vec()),
            decoy(DialectName::Dialgen, secret.to_vec()),
            decoy(DialectName::Aloro, secret.to_vec()),
            Decoy { dialect: DialectName::Air, credential: token },
            decoy(DialectName::Standard, format!("whsec_{}", BASE64.encode(&secret)).into_bytes()),
            decoy(DialectName::Standard, private.into_bytes()),
            decoy(DialectName::Standard, public.into_bytes()),
        ])
    }

    /// The one that stands for what was asked for: always the same one, and nobody without the key knows which.
    pub fn of(&self, link_key: &hmac::Key, asked: &[u8]) -> &Decoy {
        let choice = Mac::over(link_key, &[CHOICE, asked]);
        let choice = choice.as_bytes()[..4].iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte));
        &self.0[choice % self.0.len()]
    }

    /// The one of a dialect.
    pub fn of_dialect(&self, dialect: DialectName) -> &Decoy {
        self.0.iter().find(|decoy| decoy.dialect == dialect).unwrap_or(&self.0[0])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::credential::is_empty;

    #[test]
    fn an_id_has_one_decoy_and_many_ids_have_all_of_them() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        let decoys = Decoys::new(&key);
        let chosen = |asked: u32| std::ptr::from_ref(decoys.of(&key, &asked.to_be_bytes()));
        assert!((0..100).all(|asked| chosen(asked) == chosen(asked)));
        assert_eq!((0..100).map(chosen).collect::<BTreeSet<_>>().len(), decoys.0.len());
        assert!(decoys.0.iter().all(|decoy| !is_empty(&decoy.credential)));
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"other key");
        let differs =
            |asked: &u32| chosen(*asked) != std::ptr::from_ref(decoys.of(&other, &asked.to_be_bytes()));
        assert!((0..100).any(|asked| differs(&asked)), "the choice is the key's");
    }
}
