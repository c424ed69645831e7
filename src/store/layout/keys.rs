//! Keys: integers with the account in their upper bits, so one account's rows lie together and no key needs an index beside
//! the table's own. Refuses to know tables.

use crate::model::AccountKey;
use crate::store::EndpointRef;
use crate::store::sql::BEGINNING;

/// Bits of a key that number the record within its account: what is before them is what a key begins with.
const NUMBER_BITS: u32 = BEGINNING;

/// The most that a record's number can be. It is never handed out, so it stands for every number that cannot be.
pub const LAST_NUMBER: i64 = (1 << NUMBER_BITS) - 1;
/// The most that an account may have handed out of a kind for a transaction to hand out more: none takes so many.
pub const LAST_HEAD: i64 = LAST_NUMBER - (1 << 20);
/// The most that an account may have handed out of a kind before it comes in: half of what there is, so that as many are left
/// for what it records from then on.
pub const MOST_BROUGHT: i64 = LAST_NUMBER / 2;
/// The accounts that fit above the numbers.
pub const MOST_ACCOUNTS: i64 = (1 << (63 - NUMBER_BITS)) - 2;

/// One key of account and number. Numbers come from ids and cursors that anybody can make up, and one that does not
/// fit must not reach into another account: it becomes the nearest one that no record has.
pub fn pack(account: AccountKey, number: i64) -> i64 {
    (account.0 << NUMBER_BITS) | number.clamp(0, LAST_NUMBER)
}

/// The inverse of [`pack`].
pub fn unpack(key: i64) -> (AccountKey, i64) {
    (AccountKey(key >> NUMBER_BITS), key & ((1 << NUMBER_BITS) - 1))
}

/// The smallest key of an account behind this one.
pub fn beyond(account: AccountKey) -> i64 {
    pack(AccountKey(account.0 + 1), 0)
}

/// The keys of an account: the first, and the first that is none of them.
pub fn keys_of(account: AccountKey) -> [i64; 2] {
    [pack(account, 0), beyond(account)]
}

/// The endpoint of a key.
pub fn endpoint_ref(endpoint: i64) -> EndpointRef {
    let (account, number) = unpack(endpoint);
    EndpointRef { account, number }
}

/// The keys of an account before a number, for lists that show the newest first.
pub fn range_before(account: AccountKey, before: Option<i64>) -> [i64; 2] {
    let end = before.map_or_else(|| pack(AccountKey(account.0 + 1), 0), |number| pack(account, number));
    [pack(account, 0), end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_reaches_into_another_account() {
        for number in [i64::MIN, -1, 1 << NUMBER_BITS, (2 << NUMBER_BITS) | 7, i64::MAX] {
            for account in [AccountKey(1), AccountKey(MOST_ACCOUNTS)] {
                assert_eq!(unpack(pack(account, number)).0, account, "{number}");
            }
        }
        assert_eq!(unpack(pack(AccountKey(3), 7)), (AccountKey(3), 7));
        assert!(pack(AccountKey(MOST_ACCOUNTS + 1), 0) > pack(AccountKey(MOST_ACCOUNTS), LAST_NUMBER));
    }
}
