//! Cutting a list of the API server into its items as it comes, so that no more than one is held. How large a tenant's objects are, and how many of
//! them there are, is the tenant's choice, and our memory is small. Pure.

/// Longest item. The API server stores nothing that is larger.
const LONGEST: usize = 4 << 20;

/// An item is longer than any object can be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an object of a list is longer than {LONGEST} bytes")]
pub struct TooLong;

/// Where in a list we are. What is not valid JSON gives items that are not either.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one thing whether we are in it")]
pub struct Items {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last string directly in the list, which is a key where a value begins.
    key: Vec<u8>,
    is_list: bool,
    in_metadata: bool,
    item: Vec<u8>,
    metadata: Vec<u8>,
}

impl Items {
    /// Takes the next piece of text and gives each item that ends in it to `take`.
    ///
    /// # Errors
    /// If an item is too long.
    pub fn feed(&mut self, text: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), TooLong> {
        for &byte in text {
            let before = self.depth;
            self.step(byte);
            // The brackets belong to what they enclose.
            let inside = before.max(self.depth);
            if self.is_list && inside >= 3 {
                self.item.push(byte);
                if self.item.len() > LONGEST {
                    return Err(TooLong);
                }
                if before == 3 && self.depth == 2 {
                    take(&self.item);
                    self.item.clear();
                }
            } else if self.in_metadata && inside >= 2 && self.metadata.len() < LONGEST {
                self.metadata.push(byte);
            }
            if before == 2 && self.depth == 1 {
                (self.is_list, self.in_metadata) = (false, false);
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ if self.depth == 1 && self.key.len() < 16 => self.key.push(byte),
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                if self.depth == 1 {
                    self.is_list = byte == b'[' && self.key == b"items";
                    self.in_metadata = byte == b'{' && self.key == b"metadata";
                }
                self.depth += 1;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// The metadata of the list, once it has come.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn cut(text: &str, piece: usize) -> (Vec<Value>, Value) {
        let (mut items, mut all) = (Items::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            items.feed(piece, |item| all.push(serde_json::from_slice(item).unwrap())).unwrap();
        }
        (all, serde_json::from_slice(items.metadata()).unwrap_or_default())
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!("items")),
            Just(json!("}]\\\"{[")),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((prop_oneof![Just("items".to_owned()), any::<String>()], inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn items_come_as_they_are(
            objects in prop::collection::vec(any_json(), 0..5),
            note in any_json(),
            piece in 1_usize..64,
        ) {
            let objects: Vec<Value> = objects.into_iter().map(|value| json!({"items": [value.clone()], "metadata": value})).collect();
            let metadata = json!({"continue": "c", "items": note});
            let list = json!({"kind": "items", "metadata": metadata, "note": note, "items": objects, "z": [note]});
            prop_assert_eq!(cut(&list.to_string(), piece), (objects.clone(), metadata.clone()));
            prop_assert_eq!(cut(&serde_json::to_string_pretty(&list).unwrap(), piece), (objects, metadata));
        }

        #[test]
        fn nonsense_does_no_harm(text in any::<Vec<u8>>()) {
            let mut items = Items::default();
            let _ = items.feed(&text, |_| ());
        }
    }

    #[test]
    fn nothing_is_held_beyond_reason() {
        let mut items = Items::default();
        items.feed(br#"{"items":[{"a":""#, |_| ()).unwrap();
        assert_eq!(items.feed(&vec![b'x'; LONGEST], |_| ()), Err(TooLong));
        assert_eq!(cut(r#"{"items":null}"#, 3), (Vec::new(), Value::Null));
    }
}
