//! HMAC-SHA256 over some bytes, and the one way in which secret values are compared: in a time that tells nothing about
//! where they differ. Does not know what is signed, and where a key comes from.

use ring::hmac;
use subtle::ConstantTimeEq;

/// How many bytes an HMAC-SHA256 has.
pub const MAC_BYTES: usize = 32;

/// An HMAC-SHA256. It has no `==`: [`Self::fits`] compares in constant time.
#[derive(Clone, Copy)]
pub struct Mac([u8; MAC_BYTES]);

impl Mac {
    /// Computes it over parts, as if they were one message.
    pub fn over(key: &hmac::Key, parts: &[&[u8]]) -> Self {
        let whole = match parts {
            [only] => hmac::sign(key, only),
            _ => {
                let mut context = hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                context.sign()
            }
        };
        Self(std::array::from_fn(|at| whole.as_ref()[at]))
    }

    /// The bytes, to be written into a signature, a link or a cursor. Never to be compared.
    pub fn as_bytes(&self) -> &[u8; MAC_BYTES] {
        &self.0
    }

    /// Whether somebody else's value is this one.
    pub fn fits(&self, given: &[u8]) -> bool {
        is_same(&self.0, given)
    }

    /// Whether somebody else's value is the beginning of this one.
    pub fn begins_with<const BYTES: usize>(&self, given: &[u8; BYTES]) -> bool {
        const { assert!(BYTES > 0 && BYTES <= MAC_BYTES) };
        is_same(&self.0[..BYTES], given)
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac(..)")
    }
}

/// Compares two values in a time that depends on their lengths alone. For what may have any length see
/// [`super::Secret::fits`], which does not tell the length either.
pub fn is_same(expected: &[u8], given: &[u8]) -> bool {
    expected.ct_eq(given).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn a_mac_is_the_one_of_the_standard() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let expected = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let parts: [&[u8]; 3] = [b"what do ya want ", b"", b"for nothing?"];
        for mac in [Mac::over(&key, &[b"what do ya want for nothing?"]), Mac::over(&key, &parts)] {
            assert_eq!(mac.as_bytes().as_slice(), expected);
            assert!(mac.fits(&expected) && mac.begins_with::<12>(expected[..12].try_into().unwrap()));
            assert!(!mac.fits(&expected[..31]) && !mac.fits(&[]) && !mac.fits(&[0; 32]));
            assert!(!mac.begins_with(&[0; 12]));
        }
    }
}
