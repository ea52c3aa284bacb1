//! The web pages: rendered here, complete without script; a small script of our own keeps them fresh.
//!
//! Pages read what the API reads, through the same ports, with the key in a cookie. Nothing on them is decorative: every
//! number comes from the store.

mod assets;
mod diff_view;
pub(crate) mod docs;
mod job;
mod login;
mod overview;
mod page;
mod visitor;
mod words;

use axum::Router;
use axum::routing::{get, post};

use crate::state::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(overview::overview))
        .route("/jobs/{id}", get(job::job))
        .route("/login", post(login::login))
        .route("/logout", post(login::logout))
        .route("/docs", get(docs::docs))
        .route("/assets/{file}", get(assets::asset))
}
