//! The catalogue file: a list of events, each the body of its `PUT` with `id`
//! and `state` beside it.

use std::fmt;

use onsale_core::{EventDefinition, EventState, Id};
use serde::Deserialize;
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use super::{EventBody, FieldError, FieldProblem, StateBody};

/// An event of a catalogue file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueEvent {
    /// Its id.
    pub id: Id,
    /// The state it shall have; none: as it is, and paused when it is new.
    pub state: Option<EventState>,
    /// What is for sale.
    pub definition: EventDefinition,
}

/// Reads a catalogue file.
///
/// # Errors
/// A sentence that says line and column where the JSON is wrong, or which field
/// of which event breaks which rule.
pub fn read_catalogue(json: &str) -> Result<Vec<CatalogueEvent>, String> {
    let file: FileBody = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let mut events: Vec<CatalogueEvent> = Vec::with_capacity(file.events.len());
    for (i, entry) in file.events.iter().enumerate() {
        let event = entry.to_event().map_err(|e| format!("events[{i}].{e}"))?;
        if events.iter().any(|e| e.id == event.id) {
            return Err(format!("events[{i}].id: the id {} is there twice", event.id));
        }
        events.push(event);
    }
    Ok(events)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBody {
    events: Vec<EntryBody>,
}

struct EntryBody {
    id: String,
    state: Option<StateBody>,
    body: EventBody,
}

impl EntryBody {
    fn to_event(&self) -> Result<CatalogueEvent, FieldError> {
        let id = Id::new(&self.id)
            .map_err(|e| FieldError { field: "id".to_owned(), problem: FieldProblem::Text(e) })?;
        let definition = self.body.to_definition(&id)?;
        Ok(CatalogueEvent { id, state: self.state.map(EventState::from), definition })
    }
}

/// By hand, since `flatten` buffers the entry, and with that loses line and
/// column and takes unknown fields.
impl<'de> Deserialize<'de> for EntryBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = EntryBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EntryBody, A::Error> {
        let mut beside = Beside { map, id: None, state: None };
        let fields = serde::de::value::MapAccessDeserializer::new(&mut beside);
        let body = EventBody::deserialize(fields)?;
        let id = beside.id.ok_or_else(|| A::Error::missing_field("id"))?;
        Ok(EntryBody { id, state: beside.state, body })
    }
}

/// Takes `id` and `state` out of a map and lets the body see the rest.
struct Beside<A> {
    map: A,
    id: Option<String>,
    state: Option<StateBody>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for &mut Beside<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                "id" if self.id.is_some() => return Err(A::Error::duplicate_field("id")),
                "id" => self.id = Some(self.map.next_value()?),
                "state" if self.state.is_some() => return Err(A::Error::duplicate_field("state")),
                "state" => self.state = Some(self.map.next_value()?),
                _ => {
                    let key: StringDeserializer<A::Error> = key.into_deserializer();
                    return seed.deserialize(key).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
