//! The description of the port, against the port: whatever it says is tried.

use std::collections::BTreeSet;

use super::blurred;
use super::common::Herd;
use super::common::operator::{Operator, Reply};
use serde_json::{Map, Value};

/// Methods and paths of the description, and how often each of their answers was seen.
struct Checked {
    described: Value,
    asker: Operator,
    /// Head lines of each request.
    head: String,
    /// Method, path and status.
    seen: BTreeSet<(String, String, String)>,
}

impl Checked {
    fn of(herd: &Herd) -> Checked {
        Checked::with(herd, String::new())
    }

    fn with(herd: &Herd, head: String) -> Checked {
        let mut asker = Operator::connect(herd.web_port("Hill"));
        let reply = asker.ask("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let described = serde_json::from_str(&reply.body).unwrap();
        Checked { described, asker, head, seen: BTreeSet::new() }
    }

    /// Asks, and compares what comes with what is said of it.
    fn ask(&mut self, method: &str, path: &str, target: &str, body: &str) -> Reply {
        let length = body.len();
        let head = format!("{} {target} HTTP/1.1\r\nHost: localhost", method.to_uppercase());
        let head = format!("{head}\r\n{}Content-Length: {length}\r\n\r\n", self.head);
        let reply = self.asker.ask(&format!("{head}{body}"));
        let status = reply.status.to_string();
        let answer = &self.described["paths"][path][method]["responses"][&*status];
        let kind = &*reply.headers["content-type"];
        let schema = &answer["content"][kind]["schema"];
        assert!(!schema.is_null(), "{target}: {status} {kind} is not described");
        let value = match kind {
            "text/plain; charset=utf-8" => Value::from(&*reply.body),
            _ => serde_json::from_str(&reply.body).unwrap(),
        };
        self.fits(&value, schema).unwrap_or_else(|why| panic!("{target}: {why}\n{value}"));
        self.seen.insert((method.to_owned(), path.to_owned(), status));
        reply
    }

    /// Whether a value is what a schema says, as far as schemas go here.
    fn fits(&self, value: &Value, schema: &Value) -> Result<(), String> {
        let known = [
            "$ref",
            "anyOf",
            "const",
            "type",
            "required",
            "properties",
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "description",
        ];
        let schema = schema.as_object().ok_or("no schema")?;
        let unknown = schema.keys().find(|key| !known.contains(&&***key));
        assert_eq!(unknown, None, "the test knows no such word");
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let at = self.described.pointer(name.strip_prefix('#').unwrap()).ok_or(name)?;
            return self.fits(value, at);
        }
        if let Some(some) = schema.get("anyOf").and_then(Value::as_array) {
            let all = Vec::from_iter(some.iter().map(|it| self.fits(value, it)));
            return if all.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{all:?}")) };
        }
        if let Some(one) = schema.get("const") {
            return if one == value { Ok(()) } else { Err(format!("{value} is not {one}")) };
        }
        let is_of_type = match schema.get("type").and_then(Value::as_str) {
            None => true,
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("number") => value.is_number(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("null") => value.is_null(),
            Some(other) => panic!("the test knows no {other}"),
        };
        if !is_of_type {
            return Err(format!("{value} is no {}", schema["type"]));
        }
        if let Value::Object(members) = value {
            self.members_fit(members, schema)?;
        }
        if let Value::Array(elements) = value {
            let bound = |key: &str| schema.get(key).and_then(Value::as_u64).map(|it| it as usize);
            let (least, most) = (bound("minItems"), bound("maxItems"));
            if least.is_some_and(|it| elements.len() < it)
                || most.is_some_and(|it| elements.len() > it)
            {
                return Err(format!("{} elements", elements.len()));
            }
            let items = schema.get("items").ok_or("no items")?;
            elements.iter().try_for_each(|element| self.fits(element, items))?;
        }
        Ok(())
    }

    fn members_fit(
        &self,
        members: &Map<String, Value>,
        schema: &Map<String, Value>,
    ) -> Result<(), String> {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            members.get(name).ok_or(format!("{name} is missing"))?;
        }
        for (name, member) in members {
            match schema.get("properties").and_then(|it| it.get(name)) {
                Some(schema) => self.fits(member, schema)?,
                None if schema.get("additionalProperties") == Some(&false.into()) => {
                    return Err(format!("{name} is not described"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Method, path, operation.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, operations) in self.described["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                all.push((method.clone(), path.clone(), operation.clone()));
            }
        }
        all
    }
}

/// A path with a client in it.
fn about(path: &str, id: &str) -> String {
    path.replace("{id}", id)
}

fn parameters(operation: &Value) -> Vec<Value> {
    operation["parameters"].as_array().cloned().unwrap_or_default()
}

fn text_of(example: &Value) -> String {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned)
}

/// No room, and more than is taken or told at a time.
fn ask_for_too_much(checked: &mut Checked) {
    for (id, lat) in [("fig", 60.17), ("plum", -1.5)] {
        let target = format!("/report?id={id}&lat={lat}&lon=24.9384");
        assert_eq!(checked.ask("get", "/report", &target, "").status, 200);
    }
    let batch = |clients: usize| {
        let one = |id| format!(r#"{{"id":"c{id}","lat":60.5,"lon":24.5}}"#);
        format!("[{}]", Vec::from_iter((0..clients).map(one)).join(","))
    };
    assert_eq!(checked.ask("post", "/report", "/report", &batch(1_000)).status, 503);
    let full = "/report?id=one_too_many&lat=60&lon=24";
    assert_eq!(checked.ask("get", "/report", full, "").status, 503);
    let one = ("/v1/clients/{id}", "/v1/clients/one_too_many");
    assert_eq!(checked.ask("delete", one.0, one.1, "").status, 503);
    assert_eq!(checked.ask("post", "/report", "/report", &batch(1_001)).status, 413);
    let near = checked.ask("get", "/v1/clients", "/v1/clients?near=60.17,24.9384&radius=5e3", "");
    assert!(near.body.contains("\"distance\":"), "{near:?}");
    let page = checked.ask("get", "/v1/clients", "/v1/clients?limit=1", "");
    assert!(page.body.contains("\"next\":"), "{page:?}");
}

/// Somebody whose link opens one client, and blurs where it is.
fn ask_blurred(operations: &[(String, String, Value)]) -> Checked {
    let (herd, _, link) = blurred::shared(&["--blur"]);
    let mut checked = Checked::with(&herd, blurred::bearer(&link));
    for (method, path, _) in operations.iter().filter(|(_, path, _)| path != "/openapi.json") {
        let is_told = method == "get" && path == "/v1/clients/{id}";
        let target = about(path, blurred::CLIENT);
        let query = if path == "/report" { "?id=kiwi&lat=1&lon=1" } else { "" };
        let reply = checked.ask(method, path, &format!("{target}{query}"), "");
        assert_eq!(reply.status, if is_told { 200 } else { 403 }, "{method} {path}");
        assert_eq!(reply.body.contains("Polygon"), is_told, "{reply:?}");
    }
    assert_eq!(checked.ask("get", "/v1/clients/{id}", "/v1/clients/kiwi", "").status, 403);
    checked
}

/// Goal: each path, each parameter, each status and each shape of an answer is as it is described,
/// and nothing that is not described is taken.
#[test]
fn the_port_is_as_it_is_described() {
    let herd = Herd::of_one("[limits]\nclients_max = 1000\n", &[]);
    let mut checked = Checked::of(&herd);
    assert_eq!(checked.described["openapi"], "3.1.0");
    let operations = checked.operations();
    for (method, path, operation) in &operations {
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let query = |wanted: &dyn Fn(&Value) -> bool| {
            let parameters = parameters(operation);
            let some = parameters.iter().filter(|it| it["in"] == "query" && wanted(it));
            let texts = some
                .map(|it| format!("{}={}", it["name"].as_str().unwrap(), text_of(&it["example"])));
            Vec::from_iter(texts).join("&")
        };
        let is_required = |it: &Value| it["required"] == true;
        // Others are asked about who is not forgotten.
        let client = if method == "delete" { "lime" } else { "kiwi" };
        let target = |query: &str| format!("{}?{query}", about(path, client));
        checked.ask(method, path, &target(&query(&is_required)), &body);
        // One after the other, with those that it needs.
        for parameter in parameters(operation).iter().filter(|it| it["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let needs = |it: &Value| match name {
                "near" | "cursor" | "radius" if path == "/v1/clients" => {
                    it["name"] == "near" || it["name"] == "radius"
                }
                "thin" => it["name"] == "bbox",
                _ => false,
            };
            let some = query(&|it| is_required(it) || it["name"] == name || needs(it));
            let reply = checked.ask(method, path, &target(&some), &body);
            assert_eq!(reply.status, 200, "{path}?{some}");
        }
        if operation["responses"].get("400").is_some() {
            let reply = checked.ask(method, path, &target("no_such_parameter=1"), &body);
            assert_eq!(reply.status, 400, "{path}");
        }
        if operation["responses"].get("404").is_some() {
            let target = format!("{}?{}", about(path, "nobody"), query(&is_required));
            assert_eq!(checked.ask(method, path, &target, &body).status, 404);
        }
    }
    ask_for_too_much(&mut checked);

    let mut seen = checked.seen;
    let herd = Herd::of_one("[nearby]\nindex = false\n", &[]);
    let mut checked = Checked::of(&herd);
    checked.ask("get", "/report", "/report?id=kiwi&lat=60.1699&lon=24.9384", "");
    checked.ask("get", "/v1/clients", "/v1/clients?bbox=24,60,25,61", "");
    let path = "/v1/clients/{id}/near";
    checked.ask("get", path, "/v1/clients/kiwi/near?radius=5", "");
    seen.append(&mut checked.seen);
    seen.append(&mut ask_blurred(&operations).seen);
    for (method, path, operation) in operations {
        for status in operation["responses"].as_object().unwrap().keys() {
            let is_seen = seen.contains(&(method.clone(), path.clone(), status.clone()));
            assert!(is_seen, "{method} {path}: nobody has seen {status}");
        }
    }
}
