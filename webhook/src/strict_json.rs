//! JSON without ambiguity and within bounds. An object that names a key twice is refused: readers differ in which of
//! the two they believe, so a judge and the one who acts on the judgement could see different things. A text of very
//! many small values is refused: in memory it takes a hundred times its length.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// How many values (members, items, and what they are in) one text may have. Large pods have some thousand.
pub const MOST_VALUES: usize = 20_000;

/// Reads one JSON value. Fails on what is not JSON, on a key that appears twice in one object, on more than
/// [`MOST_VALUES`] values, and on nesting deeper than `serde_json`'s limit of 128, so that no input can exhaust the
/// stack.
pub fn from_str(text: &str) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MOST_VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { left: &left }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct Strict<'c> {
    left: &'c Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(D::Error::custom(format_args!("it has more than {MOST_VALUES} values"))),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            match object.entry(key) {
                Entry::Occupied(first) => {
                    let key = first.key();
                    return Err(A::Error::custom(format_args!("the key {key:?} appears twice")));
                }
                Entry::Vacant(slot) => {
                    slot.insert(members.next_value_seed(self)?);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_key_that_appears_twice_is_refused_at_any_depth() {
        let error = from_str(r#"{"a":[{"privileged":false,"b":1,"privileged":true}]}"#).unwrap_err();
        assert!(error.to_string().contains(r#""privileged" appears twice"#), "{error}");
        let spelled_differently = from_str(r#"{"p":1,"\u0070":2}"#);
        assert!(spelled_differently.is_err());
    }

    #[test]
    fn depth_is_limited() {
        let deep = "[".repeat(100_000);
        assert!(from_str(&deep).unwrap_err().to_string().contains("recursion limit"));
    }

    #[test]
    fn many_values_are_refused_before_they_fill_the_memory() {
        let items = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert!(from_str(&items(MOST_VALUES - 1)).is_ok());
        let error = from_str(&items(MOST_VALUES)).unwrap_err().to_string();
        assert!(error.starts_with("it has more than 20000 values"), "{error}");
    }

    #[test]
    fn nothing_may_follow() {
        assert!(from_str("{} {}").is_err());
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| json!(number)),
            any::<u64>().prop_map(|number| json!(number)),
            (-1e300..1e300).prop_map(|number: f64| json!(number)),
            "\\PC*".prop_map(Value::String),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::hash_map("\\PC{0,8}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_reads(value in json_value()) {
            let text = value.to_string();
            let plain: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(from_str(&text).unwrap(), plain);
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = from_str(&text);
        }
    }
}
