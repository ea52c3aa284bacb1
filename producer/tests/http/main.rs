//! The HTTP side as a client sees it: the router over the real embedded adapters, one module a subject.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect should panic"
)]

mod access;
mod agent_tasks;
mod agents;
mod answer;
mod budgets;
mod bulk;
mod dead_letters;
mod files;
mod handed_over;
mod health;
mod keys;
mod links;
mod lists;
mod openapi;
mod pages;
mod problems;
mod queues;
mod schedules;
mod serving;
mod sessions;
mod site;
mod steering;
mod streams;
mod tenants;
mod validation;
mod why;
