//! `--filter key=value`, as the API's JSON map of lists.

use std::collections::BTreeMap;

/// The check of one `--filter`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".into())
}

/// All filters as the value of the query `filters`; empty where there are none.
pub(crate) fn to_query<T: AsRef<str>>(filters: &[T]) -> String {
    let mut map: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    for filter in filters {
        if let Some((key, value)) = filter.as_ref().split_once('=') {
            map.entry(key.trim().to_lowercase())
                .or_default()
                .insert(value.trim().to_owned(), true);
        }
    }
    if map.is_empty() {
        return String::new();
    }
    // A map of texts and booleans always has a JSON form.
    serde_json::to_string(&map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_lowered_and_values_collected() {
        let query = to_query(&["Status = running", "label=a=b", "status=paused"]);
        assert_eq!(
            query,
            r#"{"label":{"a=b":true},"status":{"paused":true,"running":true}}"#
        );
        assert_eq!(to_query::<&str>(&[]), "");
        assert!(check("abc").is_err());
    }
}
