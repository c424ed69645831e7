//! Secrets at rest: sealed with ChaCha20-Poly1305 (RFC 8439) under a key that lives in a file beside the data, never
//! in it. Also hashes API keys and derives the keys of links and of digests. Refuses to know what it seals.

use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hmac};

use super::private_files;
use crate::clock::random_bytes;
use crate::model::Mac;

/// The file of the key that seals secrets, in a data directory.
pub const MASTER_KEY: &str = "master.key";
/// The file of the admin key that a first start makes.
pub const ADMIN_KEY: &str = "admin.key";
/// The file of the secret that a first start makes for `POST /aiDialerCallbackWithData`.
pub const DIALER_SECRET: &str = "dialer.secret";
/// The files with keys in a data directory.
pub const KEY_FILES: [&str; 3] = [MASTER_KEY, ADMIN_KEY, DIALER_SECRET];

/// Why sealed bytes could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("the key file {path}: {why}")]
    KeyFile {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The bytes were sealed under another key, or altered.
    #[error("sealed data does not open under this key file")]
    WrongKey,
}

/// Seals and opens.
pub struct Vault {
    key: LessSafeKey,
    link_key: hmac::Key,
    repeat_key: hmac::Key,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// A vault under a master key.
    ///
    /// # Panics
    /// Never: every 32 bytes are a key.
    pub fn new(master: [u8; 32]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, &master);
        let seal = Mac::over(&master, &[b"postcall seal v1"]);
        let link = Mac::over(&master, &[b"postcall link v1"]);
        let repeat = Mac::over(&master, &[b"postcall repeat v1"]);
        let key = UnboundKey::new(&CHACHA20_POLY1305, seal.as_bytes()).expect("32 bytes");
        Self {
            key: LessSafeKey::new(key),
            link_key: hmac::Key::new(hmac::HMAC_SHA256, link.as_bytes()),
            repeat_key: hmac::Key::new(hmac::HMAC_SHA256, repeat.as_bytes()),
        }
    }

    /// The vault of a key file; makes the file (mode 0600) when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, made, or is not 32 bytes.
    pub fn of_file(path: &Path) -> Result<Self, VaultError> {
        let trouble = |why: String| VaultError::KeyFile { path: path.display().to_string(), why };
        match std::fs::read(path) {
            Ok(bytes) => {
                let master = bytes.try_into().map_err(|_| trouble("is not 32 bytes long".to_owned()))?;
                Ok(Self::new(master))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let master = random_bytes::<32>();
                // Whole or not at all: nothing that is sealed under this key may outlive it.
                private_files::write_whole(path, &master).map_err(|error| trouble(error.to_string()))?;
                Ok(Self::new(master))
            }
            Err(error) => Err(trouble(error.to_string())),
        }
    }

    /// Seals bytes: nonce, then ciphertext and tag.
    ///
    /// # Panics
    /// Never: only inputs beyond 256 GiB cannot be sealed.
    pub fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        let aad = Aad::empty();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("input is short");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Self::seal`] sealed.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] when it was sealed under another key or altered since.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(VaultError::WrongKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::WrongKey)?;
        let mut sealed = sealed.to_vec();
        let plain =
            self.key.open_in_place(nonce, Aad::empty(), &mut sealed).map_err(|_| VaultError::WrongKey)?;
        Ok(plain.to_vec())
    }

    /// The key that makes links unguessable.
    pub fn link_key(&self) -> &hmac::Key {
        &self.link_key
    }

    /// The key of the digests by which repeats are known of records that are removed: without it, who holds the database
    /// cannot try which ids they were made of.
    pub fn repeat_key(&self) -> &hmac::Key {
        &self.repeat_key
    }
}

/// The hash under which an API key is kept. The key has 256 bits of chance, so a plain SHA-256 is enough.
pub fn hash_api_key(key: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_the_same_key_only() {
        let vault = Vault::new([1; 32]);
        let sealed = vault.seal(b"whsec_abc");
        assert!(!sealed.windows(5).any(|part| part == b"whsec"));
        assert_eq!(vault.open(&sealed).unwrap(), b"whsec_abc");
        assert_ne!(sealed, vault.seal(b"whsec_abc"), "each nonce is new");
        assert_eq!(Vault::new([2; 32]).open(&sealed), Err(VaultError::WrongKey));
        assert_eq!(vault.open(&sealed[..20]), Err(VaultError::WrongKey));
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let sealed = Vault::of_file(&path).unwrap().seal(b"x");
        assert_eq!(Vault::of_file(&path).unwrap().open(&sealed).unwrap(), b"x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"short").unwrap();
        assert!(Vault::of_file(&path).is_err());
    }
}
