//! `/docs`: the OpenAPI document as a page, rendered once when the process starts. Needs no script and no network.

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use serde_json::{Map, Value};
use utoipa::openapi::OpenApi;

use crate::openapi::Description;
use crate::problem_kinds::{self as kinds, Kind};
use crate::state::App;

#[derive(Template)]
#[template(path = "docs.html")]
struct DocsPage {
    title: String,
    intro: Vec<Prose>,
    groups: Vec<Group>,
    schemas: Vec<Shape>,
    problems: &'static [&'static Kind],
}

struct Group {
    name: String,
    about: Prose,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    about: Vec<Prose>,
    /// True when no key is needed.
    open: bool,
    parameters: Vec<Field>,
    body: Option<Type>,
    answers: Vec<Answer>,
}

struct Answer {
    status: String,
    about: Prose,
    media_type: String,
    body: Option<Type>,
}

struct Shape {
    name: String,
    about: Prose,
    fields: Vec<Field>,
    /// For a shape without fields: what it is instead.
    is: Type,
}

struct Field {
    name: String,
    /// Where a parameter stands: path, query, header.
    place: String,
    required: bool,
    is: Type,
    about: Prose,
}

/// A sentence in pieces: each is plain text or, between backticks, code.
struct Prose(Vec<Piece>);

struct Piece {
    is_code: bool,
    text: String,
}

/// A type in words, with the schema that it refers to, if any.
struct Type {
    before: String,
    link: Option<String>,
}

pub(super) async fn docs(State(app): State<App>) -> Html<String> {
    Html(app.description.page.clone())
}

impl Description {
    pub fn of(document: &OpenApi) -> Self {
        let value = serde_json::to_value(document).unwrap_or_default();
        let page = DocsPage::of(&value).render();
        Self {
            json: value.to_string(),
            page: page.unwrap_or_else(|error| {
                tracing::error!(%error, "the page of the API's description could not be written");
                String::new()
            }),
        }
    }
}

impl DocsPage {
    fn of(document: &Value) -> Self {
        let info = &document["info"];
        let mut groups: Vec<Group> = list(&document["tags"])
            .map(|tag| Group {
                name: text(&tag["name"]),
                about: Prose::of(&tag["description"]),
                operations: Vec::new(),
            })
            .collect();
        for (path, item) in entries(&document["paths"]) {
            for (method, operation) in entries(item) {
                let tag = text(&operation["tags"][0]);
                if let Some(group) = groups.iter_mut().find(|group| group.name == tag) {
                    group
                        .operations
                        .push(Operation::of(path, method, operation));
                }
            }
        }
        Self {
            title: text(&info["title"]),
            intro: paragraphs(&info["description"]),
            groups,
            schemas: entries(&document["components"]["schemas"])
                .map(|(name, schema)| Shape::of(name, schema))
                .collect(),
            problems: kinds::ALL,
        }
    }
}

impl Operation {
    fn of(path: &str, method: &str, operation: &Value) -> Self {
        let body = content(&operation["requestBody"]).map(|(_, is)| is);
        Self {
            id: text(&operation["operationId"]),
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            about: paragraphs(&operation["description"]),
            open: list(&operation["security"]).any(|one| one == &Value::Object(Map::new())),
            parameters: list(&operation["parameters"])
                .map(Field::of_parameter)
                .collect(),
            body,
            answers: entries(&operation["responses"])
                .map(|(status, answer)| Answer::of(status, answer))
                .collect(),
        }
    }
}

impl Answer {
    fn of(status: &str, answer: &Value) -> Self {
        let (media_type, body) = content(answer).unzip();
        Self {
            status: status.to_owned(),
            about: Prose::of(&answer["description"]),
            media_type: media_type.unwrap_or_default(),
            body,
        }
    }
}

impl Shape {
    fn of(name: &str, schema: &Value) -> Self {
        let required: Vec<String> = list(&schema["required"]).map(text).collect();
        let fields = entries(&schema["properties"]).map(|(field, schema)| Field {
            name: field.to_owned(),
            place: String::new(),
            required: required.iter().any(|name| name == field),
            is: Type::of(schema),
            about: Prose::of(&schema["description"]),
        });
        Self {
            name: name.to_owned(),
            about: Prose::of(&schema["description"]),
            fields: fields.collect(),
            is: Type::of(schema),
        }
    }
}

impl Field {
    fn of_parameter(parameter: &Value) -> Self {
        Self {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            required: parameter["required"] == true,
            is: Type::of(&parameter["schema"]),
            about: Prose::of(&parameter["description"]),
        }
    }
}

impl Type {
    fn of(schema: &Value) -> Self {
        if let Some(reference) = schema["$ref"].as_str() {
            return Self::linked(reference.rsplit('/').next().unwrap_or(reference));
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            // What is left of a choice with null is the type itself.
            if let Some(one) = list(&schema[choice]).find(|one| one["type"] != "null") {
                return Self::of(one);
            }
        }
        if let Some(items) = schema.get("items") {
            let mut items = Self::of(items);
            items.before.insert_str(0, "list of ");
            return items;
        }
        if schema.get("enum").is_some() {
            let names: Vec<String> = list(&schema["enum"]).map(text).collect();
            return Self::plain(names.join(" | "));
        }
        let names: Vec<String> = match &schema["type"] {
            Value::Array(types) => types
                .iter()
                .map(text)
                .filter(|name| name != "null")
                .collect(),
            single => vec![text(single)],
        };
        let format = schema["format"]
            .as_str()
            .map(|format| format!(" ({format})"));
        Self::plain(names.join(" | ") + &format.unwrap_or_default())
    }

    const fn plain(before: String) -> Self {
        Self { before, link: None }
    }

    fn linked(name: &str) -> Self {
        Self {
            link: Some(name.to_owned()),
            ..Self::plain(String::new())
        }
    }
}

impl Prose {
    fn of(value: &Value) -> Self {
        Self::read(value.as_str().unwrap_or(""))
    }

    fn read(text: &str) -> Self {
        let mut pieces = Vec::new();
        for (number, piece) in text.split('`').enumerate() {
            pieces.push(Piece {
                is_code: number % 2 == 1,
                text: piece.to_owned(),
            });
        }
        Self(pieces)
    }
}

/// The first media type of a body, with its type.
fn content(value: &Value) -> Option<(String, Type)> {
    let (media_type, content) = entries(&value["content"]).next()?;
    Some((media_type.to_owned(), Type::of(&content["schema"])))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn paragraphs(value: &Value) -> Vec<Prose> {
    let text = text(value);
    let parts = text.split("\n\n").filter(|part| !part.is_empty());
    parts.map(Prose::read).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object = value.as_object().into_iter().flatten();
    object.map(|(name, value)| (name.as_str(), value))
}
