//! Any document is found by the walk as `serde_json` finds it, value after value.

use postcall::model::json::{MAX_DEPTH, is_too_deep};
use postcall::model::{Object, Text, Token};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::made;

/// The keys and values of an object, in order.
fn members(object: &Object<'_>) -> Vec<(Text, String)> {
    object.rest().map(|(key, value)| (key, value.get().to_owned())).collect()
}

/// Compares a value that was walked with what `serde_json` reads; says how deep it nests.
fn compare(mut walked: Token<'_>, valid: &RawValue) -> usize {
    let text = valid.get();
    assert_eq!(walked.get(), text);
    assert_eq!(walked.text(), serde_json::from_str(text).ok(), "{text}");
    let elements: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
    assert_eq!(
        walked.elements().map(|all| all.iter().map(Token::get).collect::<Vec<_>>()),
        elements.as_ref().map(|all| all.iter().map(|element| element.get()).collect()),
    );
    let objects: Option<Vec<Object<'_>>> = serde_json::from_str(text).ok();
    let walked_objects = walked.objects();
    assert_eq!(
        walked_objects.as_ref().map(|all| all.iter().map(members).collect::<Vec<_>>()),
        objects.map(|all| all.iter().map(members).collect()),
    );
    let object: Option<Object<'_>> = serde_json::from_str(text).ok();
    let walked_object = walked.object();
    assert_eq!(walked_object.as_ref().map(members), object.as_ref().map(members));

    let inner = elements.unwrap_or_default().into_iter().map(|element| compare(element.into(), element));
    let deepest = inner.max();
    let inner = walked_object.into_iter().chain(walked_objects.into_iter().flatten()).flat_map(|object| {
        let compared = |(_, value): (Text, &Token<'_>)| {
            compare(value.clone(), serde_json::from_str(value.get()).unwrap())
        };
        object.rest().map(compared).collect::<Vec<_>>()
    });
    let deepest = inner.max().max(deepest);
    usize::from(text.starts_with(['{', '['])) + deepest.unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_walk_finds_what_serde_json_finds(document in made::json()) {
        let (walked, depth) = Token::of_document(serde_json::from_str(&document).unwrap());
        compare(walked, serde_json::from_str(&document).unwrap());
        // Repeated keys hide values from `compare`, not from the depth.
        for around in [MAX_DEPTH - depth, MAX_DEPTH - depth + 1] {
            let deep = format!("{}{document}{}", "[".repeat(around), "]".repeat(around));
            prop_assert_eq!(is_too_deep(deep.as_bytes()), around + depth > MAX_DEPTH);
            prop_assert_eq!(Token::of_document(serde_json::from_str(&deep).unwrap()).1, around + depth);
        }
    }
}
