//! The description says what the router does: every route, its access, its problems.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::site::Site;

/// Pages for people; not part of the API.
const PAGES: [&str; 6] = [
    "/",
    "/jobs/{id}",
    "/login",
    "/logout",
    "/docs",
    "/assets/{file}",
];
const PROBLEM: &str = "/content/application~1problem+json/schema";

fn document() -> Value {
    serde_json::to_value(producer::openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((format!("{method} {path}"), operation));
        }
    }
    all
}

#[tokio::test]
async fn every_route_of_the_router_is_documented() {
    let site = Site::start().await;
    // The router's own list of templates, as it prints itself.
    let printed = format!("{:?}", site.router);
    let routes: BTreeSet<&str> = printed
        .split('"')
        .filter(|text| text.starts_with('/') && !PAGES.contains(text))
        .filter(|text| !text.contains("__private"))
        .collect();
    let document = document();
    let documented: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(routes, documented);
    assert!(documented.contains("/api/v1/sessions/{id}/events"));
}

#[test]
fn every_operation_documents_its_access_and_its_problems() {
    let document = document();
    let global = json!([{"key": []}, {"cookie": []}]);
    assert_eq!(document["security"], global);
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(
            ids.insert(id.to_owned()),
            "{name}: the id {id} is used twice"
        );
        assert!(
            !operation["summary"].as_str().unwrap_or("").is_empty(),
            "{name}"
        );
        let tag = operation["tags"][0].as_str().unwrap();
        let tags = document["tags"].as_array().unwrap();
        assert!(
            tags.iter().any(|known| known["name"] == tag),
            "{name}: {tag}"
        );
        let mut problems = Vec::new();
        let security = operation.get("security");
        if security != Some(&json!([{}])) {
            problems.extend(["401", "500", "503"]);
        }
        // An agent's token is good for its one route or not at all; keys have roles.
        if security.is_none() {
            problems.push("403");
        }
        if operation.get("requestBody").is_some() {
            problems.extend(["400", "413", "415", "422"]);
        }
        let parameters = operation["parameters"].as_array();
        let has = |place: &str| {
            parameters
                .into_iter()
                .flatten()
                .any(|one| one["in"] == place)
        };
        if has("path") {
            problems.push("404");
        }
        if has("query") {
            problems.push("422");
        }
        for status in problems {
            let schema = operation["responses"][status].pointer(PROBLEM);
            assert!(schema.is_some(), "{name} does not document {status}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value.as_str().filter(|_| key == "$ref") {
                        Some(reference) => {
                            found.insert(reference.to_owned());
                        }
                        None => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served_without_a_key() {
    let site = Site::start().await;
    let served = site.get("/api/v1/openapi.json").no_key().send().await;
    assert_eq!(served.json(), document());
    assert!(
        served.json()["openapi"]
            .as_str()
            .unwrap()
            .starts_with("3.1")
    );
    let page = site.get("/docs").no_key().send().await.text();
    for (name, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "{name}");
    }
    for code in [
        "VALIDATION_ERROR",
        "INVALID_TRANSITION",
        "SESSION_NOT_FOUND",
    ] {
        assert!(page.contains(&format!("id=\"{code}\"")), "{code}");
    }
    assert!(page.contains("X-Tenant-ID"), "the header is named");
    assert!(!page.contains("<script"), "the page needs no script");
    assert!(!page.contains("://"), "the page needs no network");
}
