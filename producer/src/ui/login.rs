//! Logging in: an API key goes into a cookie that scripts cannot read and other sites cannot send.

use application::use_cases::AuthError;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::Deserialize;

use super::page::{PageError, html};
use crate::auth::{KEY_COOKIE, cross_site, is_same_origin};
use crate::state::App;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    next: String,
    why: Option<&'static str>,
}

impl LoginPage {
    pub fn new(next: &str, why: Option<&'static str>) -> Self {
        Self {
            next: local(next).to_owned(),
            why,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Login {
    key: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    jar: CookieJar,
    Form(form): Form<Login>,
) -> Response {
    if !is_same_origin(&headers) {
        return PageError(cross_site()).into_response();
    }
    let key = form.key.trim();
    match app.authenticator.authenticate(key).await {
        Ok(_) => {
            let jar = jar.add(cookie(key.to_owned(), is_https(&app, &headers)));
            (jar, Redirect::to(local(&form.next))).into_response()
        }
        Err(AuthError::Rejected) => {
            let why = "This key is not valid. Check that it was copied whole, and that it was not revoked.";
            html(
                StatusCode::UNAUTHORIZED,
                &LoginPage::new(&form.next, Some(why)),
            )
        }
        Err(error) => PageError::from(error).into_response(),
    }
}

pub(super) async fn logout(State(app): State<App>, headers: HeaderMap, jar: CookieJar) -> Response {
    if !is_same_origin(&headers) {
        return PageError(cross_site()).into_response();
    }
    let jar = jar.remove(cookie(String::new(), is_https(&app, &headers)));
    (jar, Redirect::to("/")).into_response()
}

/// Ends with the browser's session.
fn cookie(key: String, secure: bool) -> Cookie<'static> {
    Cookie::build((KEY_COOKIE, key))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .build()
}

fn is_https(app: &App, headers: &HeaderMap) -> bool {
    let proto = headers.get(X_FORWARDED_PROTO);
    app.config.trust_forwarded_proto && proto.is_some_and(|proto| proto.as_bytes() == b"https")
}

/// An address on this server, else the first page: a login must not send people elsewhere.
fn local(next: &str) -> &str {
    let inside = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control);
    if inside { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_nowhere_else() {
        assert_eq!(local("/jobs/1?tenant=a"), "/jobs/1?tenant=a");
        for elsewhere in [
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "",
            "/a\nb",
        ] {
            assert_eq!(local(elsewhere), "/");
        }
    }
}
