//! Who looks at a page: the key in the cookie, or nobody yet, who gets the login form.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use domain::{Permit, Tenant, TenantId};

use super::login::LoginPage;
use super::page::{Frame, PageError, html};
use crate::auth::{Caller, find_tenant, key_in_cookie, no_such_tenant};
use crate::problem::Problem;
use crate::query::Query;
use crate::state::App;

pub(super) struct Visitor {
    pub caller: Caller,
    pub tenant: TenantId,
    /// The slug in the address, when another tenant than the key's own is shown.
    named: Option<String>,
    pub query: Query,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        if key_in_cookie(&parts.headers).is_none() {
            let next = parts.uri.path_and_query().map_or("/", |next| next.as_str());
            return Err(html(StatusCode::OK, &LoginPage::new(next, None)));
        }
        match Self::read(parts, app).await {
            Ok(visitor) => Ok(visitor),
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                let next = parts.uri.path_and_query().map_or("/", |next| next.as_str());
                let why = "Your key is not valid any more. Log in with another one.";
                Err(html(StatusCode::OK, &LoginPage::new(next, Some(why))))
            }
            Err(problem) => Err(PageError(problem).into_response()),
        }
    }
}

impl Visitor {
    async fn read(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut caller = Caller::from_request_parts(parts, app).await?;
        let mut query = Query::from_request_parts(parts, app).await?;
        let named = query.text("tenant");
        if let Some(named) = &named {
            caller = caller.acting_for(app, named).await?;
        }
        Ok(Self {
            tenant: caller.may(Permit::ReadJobs)?,
            caller,
            named,
            query,
        })
    }

    /// The frame of the page, and the tenant it shows.
    pub async fn frame(&self, app: &App) -> Result<(Frame, Tenant), Problem> {
        let tenant = find_tenant(app, &self.tenant.to_string()).await?;
        let tenant = tenant.ok_or_else(|| no_such_tenant(self.tenant))?;
        let suffix = match self.named {
            Some(_) => format!("?tenant={}", tenant.slug),
            None => String::new(),
        };
        let frame = Frame {
            stream: format!("/api/v1/events{suffix}"),
            suffix,
            who: format!("{} ({})", self.caller.key.name, self.caller.key.role),
            now_ms: app.ports.clock.now().timestamp_millis(),
            tenant: tenant.slug.clone(),
        };
        Ok((frame, tenant))
    }
}
