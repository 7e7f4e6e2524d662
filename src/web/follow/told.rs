//! What a reader knows by what it was told: the promise, from its end. For tests.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::reader::Event;

/// What somebody knows who has read a stream, and those before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Who is known, and where: longitude, latitude and time, as spelled.
    pub clients: BTreeMap<String, String>,
    /// Who is inside the fence.
    pub inside: BTreeSet<String>,
    /// Everything was told once.
    pub is_ready: bool,
    /// The names of an `inside` that is not whole.
    naming: Option<BTreeSet<String>>,
    /// What was said of who came and went: `enter`, `exit`, and whose.
    pub crossings: Vec<(String, String)>,
}

impl Told {
    /// Takes an event.
    ///
    /// # Errors
    /// What must never be told: an exit or a gone of somebody who was not there, or an enter of
    /// somebody who was.
    pub fn take(&mut self, event: &Event) -> Result<(), String> {
        let data: Value = serde_json::from_str(&event.data).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&data["id"]);
        match &*event.name {
            "hello" if data["resumed"] == false => *self = Told::default(),
            "ready" => self.is_ready = true,
            "move" => {
                for client in data.as_array().into_iter().flatten() {
                    let place = format!("{},{},{}", client[1], client[2], client[3]);
                    self.clients.insert(text(&client[0]), place);
                }
            }
            "enter" if !self.inside.insert(id.clone()) => {
                return Err(format!("{id} enters, and was inside"));
            }
            "exit" if !self.inside.remove(&id) => {
                return Err(format!("{id} leaves, and was not inside"));
            }
            "enter" | "exit" => self.crossings.push((event.name.clone(), id)),
            "gone" => {
                self.clients.remove(&id);
                self.inside.remove(&id);
            }
            "inside" => {
                let names = self.naming.get_or_insert_default();
                names.extend(data["ids"].as_array().into_iter().flatten().map(text));
                if data["last"] == true {
                    let names = self.naming.take().unwrap_or_default();
                    self.clients.retain(|client, _| names.contains(client));
                    self.inside.retain(|client| names.contains(client));
                    self.strike_in(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The clients that are named are inside.
    fn strike_in(&mut self, names: BTreeSet<String>) {
        self.inside = names;
    }
}
