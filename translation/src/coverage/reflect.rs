//! What k8s-openapi's deserializers ask for: each type's field names, and a value in which every field is set.
//!
//! Those deserializers name their fields to the format they read from. [`Reflection`] is such a format without a text: it
//! writes down what it is asked for and answers with something of the right kind, one element a list, one entry a map.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Type name to its fields, each with the type of its value where that is a structure.
pub(super) type Types = BTreeMap<&'static str, Vec<(&'static str, Option<&'static str>)>>;

#[derive(Default)]
pub(super) struct Reflection {
    pub(super) types: RefCell<Types>,
    /// Structures around the one being read, so that a type that holds itself ends.
    around: RefCell<Vec<&'static str>>,
    /// The structure that the last field turned out to be.
    last: RefCell<Option<&'static str>>,
}

#[derive(Debug)]
pub(super) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Failure {
        Failure(message.to_string())
    }
}

impl<'de> Deserializer<'de> for &Reflection {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_i64(1)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_bool(true)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_str("text")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match name {
            "Time" | "MicroTime" => {
                visitor.visit_newtype_struct(StrDeserializer::new("2026-01-02T03:04:05Z"))
            }
            "Quantity" => visitor.visit_newtype_struct(StrDeserializer::new("1")),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(Once(self, false))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(Fields {
            reflection: self,
            names: &["key"],
            next: 0,
            of: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let again = self.around.borrow().contains(&name);
        self.around.borrow_mut().push(name);
        if !again {
            self.types.borrow_mut().insert(name, Vec::new());
        }
        let names = if again { &[] } else { fields };
        let value = visitor.visit_map(Fields {
            reflection: self,
            names,
            next: 0,
            of: Some(name),
        });
        self.around.borrow_mut().pop();
        *self.last.borrow_mut() = Some(name);
        value
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

struct Once<'a>(&'a Reflection, bool);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        if std::mem::replace(&mut self.1, true) {
            return Ok(None);
        }
        seed.deserialize(self.0).map(Some)
    }
}

struct Fields<'a> {
    reflection: &'a Reflection,
    names: &'static [&'static str],
    next: usize,
    of: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        match self.names.get(self.next) {
            Some(name) => seed.deserialize(StrDeserializer::new(name)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let name = self.names[self.next];
        self.next += 1;
        *self.reflection.last.borrow_mut() = None;
        let value = seed.deserialize(self.reflection);
        if let Some(of) = self.of {
            let found = self.reflection.last.borrow_mut().take();
            self.reflection
                .types
                .borrow_mut()
                .entry(of)
                .or_default()
                .push((name, found));
        }
        value
    }
}
