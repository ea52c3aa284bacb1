//! Who is calling, for which tenant, and whether they may.
//!
//! A handler of the API names the permit it needs in its signature, in [`Allowed`] or what is made of it, and gets the
//! tenant from there and nowhere else, so that none can forget to ask. The key's text is never logged.

use std::fmt;
use std::marker::PhantomData;

use application::use_cases::AuthError;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum_extra::extract::CookieJar;
use domain::{ApiKey, Permit, Role, Tenant, TenantId};

use crate::problem::Problem;
use crate::problem_kinds as kinds;
use crate::state::App;

const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The cookie that the login form sets; it holds the key.
pub(crate) const KEY_COOKIE: &str = "orchestrator_key";

/// A valid key and the tenant it acts for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub key: ApiKey,
    tenant: TenantId,
}

impl Caller {
    /// The tenant to act for, if the key's role allows `permit`.
    pub fn may(&self, permit: Permit) -> Result<TenantId, Problem> {
        if self.key.role.may(permit) {
            return Ok(self.tenant);
        }
        let needs = permit.least_role();
        // Leads make keys for all roles but the highest.
        let ask = if needs == Role::Admin {
            "it is for who runs the whole system: ask them to do it"
        } else {
            "use another key, or ask a lead of the tenant for one"
        };
        let detail = format!(
            "This needs the role {needs}, and the key has the role {}; {ask}.",
            self.key.role
        );
        Err(Problem::new(&kinds::FORBIDDEN, detail))
    }

    pub fn is_admin(&self) -> bool {
        self.key.role == Role::Admin
    }

    /// The same caller acting for the tenant that `named` names, by id or slug.
    pub async fn acting_for(mut self, app: &App, named: &str) -> Result<Self, Problem> {
        self.tenant = choose_tenant(app, &self.key, named).await?;
        Ok(self)
    }
}

/// Names of permits as types.
pub(crate) mod permit {
    use domain::Permit;

    pub(crate) trait Needs: Send + Sync {
        const PERMIT: Permit;
    }

    macro_rules! permits {
        ($($name:ident),*) => { $(
            pub(crate) struct $name;

            impl Needs for $name {
                const PERMIT: Permit = Permit::$name;
            }
        )* };
    }

    permits!(
        ReadJobs,
        SubmitJobs,
        SteerJobs,
        SteerQueues,
        ReadTenant,
        ManageKeys,
        ManageTenants,
        ReadWorkers,
        ReadAgents,
        ManageAgents
    );
}

/// A caller whose role has the permit `P`. Checked before a body is read.
pub(crate) struct Allowed<P> {
    pub caller: Caller,
    /// The tenant to act for.
    pub tenant: TenantId,
    needs: PhantomData<P>,
}

impl<S, P> FromRequestParts<S> for Allowed<P>
where
    App: FromRef<S>,
    S: Send + Sync,
    P: permit::Needs,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let tenant = caller.may(P::PERMIT)?;
        Ok(Self {
            caller,
            tenant,
            needs: PhantomData,
        })
    }
}

impl<S> FromRequestParts<S> for Caller
where
    App: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let app = App::from_ref(state);
        let presented = presented_key(&parts.headers)?;
        if presented.by_cookie && !parts.method.is_safe() && !is_same_origin(&parts.headers) {
            return Err(cross_site());
        }
        let key = app
            .authenticator
            .authenticate(&presented.text)
            .await
            .map_err(Problem::from)?;
        let caller = Self {
            tenant: key.tenant,
            key,
        };
        match parts.headers.get(X_TENANT_ID) {
            None => Ok(caller),
            Some(value) => {
                let named = value.to_str().unwrap_or("").to_owned();
                caller.acting_for(&app, &named).await
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Rejected => Self::unauthenticated(
                "The API key is not valid: unknown, expired, revoked or mistyped. Use a valid one.",
            ),
            AuthError::Store(error) => error.into(),
        }
    }
}

struct Presented {
    text: String,
    by_cookie: bool,
}

fn presented_key(headers: &HeaderMap) -> Result<Presented, Problem> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let bearer = value.to_str().ok().and_then(|text| {
            let (scheme, key) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        return match bearer {
            Some(key) => Ok(Presented {
                text: key.to_owned(),
                by_cookie: false,
            }),
            None => Err(Problem::unauthenticated(
                "The Authorization header is not understood. Send `Authorization: Bearer <API key>`.",
            )),
        };
    }
    key_in_cookie(headers)
        .map(|text| Presented {
            text,
            by_cookie: true,
        })
        .ok_or_else(|| {
            Problem::unauthenticated(
                "The request has no API key. Send `Authorization: Bearer <API key>`.",
            )
        })
}

pub(crate) fn key_in_cookie(headers: &HeaderMap) -> Option<String> {
    headers.get(COOKIE)?;
    let jar = CookieJar::from_headers(headers);
    jar.get(KEY_COOKIE).map(|cookie| cookie.value().to_owned())
}

/// False when a browser says that another site made it send this. Clients that are not browsers send neither header.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some(site) = text(SEC_FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    match text(ORIGIN) {
        None => true,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(HOST)
        }
    }
}

pub(crate) fn cross_site() -> Problem {
    Problem::new(
        &kinds::CROSS_SITE,
        "A browser says that another site sent this request, so the login cookie does not count. Use the pages of \
         this server, or send the key as `Authorization: Bearer`.",
    )
}

/// The tenant that a header names: the key's own, or any for a system admin.
async fn choose_tenant(app: &App, key: &ApiKey, named: &str) -> Result<TenantId, Problem> {
    if named.parse() == Ok(key.tenant) {
        return Ok(key.tenant);
    }
    let found = find_tenant(app, named).await?.map(|tenant| tenant.id);
    match found {
        Some(tenant) if tenant == key.tenant || key.role == Role::Admin => Ok(tenant),
        None if key.role == Role::Admin => Err(no_such_tenant(named)),
        // Whether the other tenant exists is not this key's to know.
        _ => Err(Problem::new(
            &kinds::WRONG_TENANT,
            "The key does not open the tenant that was asked for. Leave the header out to act for the key's own tenant.",
        )),
    }
}

/// A tenant by id or slug.
pub(crate) async fn find_tenant(app: &App, named: &str) -> Result<Option<Tenant>, Problem> {
    let tenants = &app.ports.tenants;
    if let Ok(id) = named.parse() {
        return Ok(tenants.tenant(id).await?);
    }
    // Nothing else can be a slug, and a store need not see it.
    let slug_like = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if named.is_empty() || named.len() > 63 || !named.bytes().all(slug_like) {
        return Ok(None);
    }
    Ok(tenants.tenant_by_slug(named).await?)
}

pub(crate) fn no_such_tenant(named: impl fmt::Display) -> Problem {
    // As much as a slug or an id may have.
    let named: String = named.to_string().chars().take(63).collect();
    let detail = format!("There is no tenant `{named}`. Name it by its id or its slug.");
    Problem::new(&kinds::TENANT_NOT_FOUND, detail)
}
