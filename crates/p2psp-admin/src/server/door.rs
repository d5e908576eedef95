//! Who is let in with a request: the caller that the connection or a bearer token names, if its scope suffices. Owns how a refusal is
//! told, to the caller and in the log.

use super::route::{TEXT, Visit, respond};
use crate::{
    access::{Caller, Scope, Tokens, needed},
    service::{AUDIT, status},
};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};
use tracing::warn;

/// Lines that refusals write within [`REFUSAL_SPAN`]; strangers must not fill the log.
const REFUSAL_LINES_MAX: u32 = 10;
const REFUSAL_SPAN: Duration = Duration::from_secs(10);

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// No token came with it.
    NoToken,
    /// What came is nobody's token.
    WrongToken,
    /// The caller may do less than that.
    Scope { caller: Caller, needed: Scope },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("send a token: authorization: Bearer TOKEN"),
            Self::WrongToken => f.write_str("this token is none of those that are let in"),
            Self::Scope { caller, needed } => {
                write!(f, "this needs the scope {needed}; {} has {}", caller.name, caller.scope)
            }
        }
    }
}

impl Denial {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "NO_TOKEN",
            Self::WrongToken => "WRONG_TOKEN",
            Self::Scope { .. } => "SCOPE",
        }
    }

    /// As gRPC tells it.
    pub(super) fn status(&self) -> Status {
        let code = match self {
            Self::NoToken | Self::WrongToken => Code::Unauthenticated,
            Self::Scope { .. } => Code::PermissionDenied,
        };
        status(code, self.reason(), self.to_string())
    }

    /// As plain HTTP tells it.
    pub(super) fn plain(&self) -> Response<Body> {
        let body = format!("{self}\n");
        match self {
            Self::NoToken | Self::WrongToken => {
                let mut response = respond(StatusCode::UNAUTHORIZED, TEXT, body);
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
            Self::Scope { .. } => respond(StatusCode::FORBIDDEN, TEXT, body),
        }
    }
}

/// Who makes a request; `None` for a stranger who asks what anyone may.
pub(super) fn admit<B>(
    visit: &Visit,
    tokens: Option<&Tokens>,
    request: &Request<B>,
) -> Result<Option<Caller>, Denial> {
    let caller = match &visit.caller {
        Some(caller) => Ok(caller.clone()),
        None => bearer(request).and_then(|token| {
            tokens.and_then(|tokens| tokens.caller(token)).cloned().ok_or(Denial::WrongToken)
        }),
    };
    match (needed(request.uri().path()), caller) {
        (None, caller) => Ok(caller.ok()),
        (Some(_), Err(denial)) => Err(denial),
        (Some(needed), Ok(caller)) if caller.scope < needed => Err(Denial::Scope { caller, needed }),
        (Some(_), Ok(caller)) => Ok(Some(caller)),
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1).
fn bearer<B>(request: &Request<B>) -> Result<&str, Denial> {
    let value = request.headers().get(AUTHORIZATION).ok_or(Denial::NoToken)?;
    let words = value.to_str().ok().and_then(|value| value.split_once(' '));
    match words {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Denial::NoToken),
    }
}

/// Refusals in the log.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<Span>>);

#[derive(Debug)]
struct Span {
    began: Instant,
    refusals: u32,
}

impl Refusals {
    /// Writes a line, unless enough were written lately.
    pub(super) fn tell(&self, whom: &dyn fmt::Display) {
        match self.count(Instant::now()) {
            Some(0) => warn!(target: AUDIT, %whom, "not let in"),
            Some(untold) => warn!(target: AUDIT, %whom, untold, "not let in"),
            None => {}
        }
    }

    /// Whether this refusal is told, and how many before it were not.
    fn count(&self, now: Instant) -> Option<u32> {
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match span.as_mut() {
            Some(span) if now.duration_since(span.began) < REFUSAL_SPAN => {
                span.refusals = span.refusals.saturating_add(1);
                (span.refusals <= REFUSAL_LINES_MAX).then_some(0)
            }
            before => {
                let untold = before.map_or(0, |span| span.refusals.saturating_sub(REFUSAL_LINES_MAX));
                *span = Some(Span { began: now, refusals: 1 });
                Some(untold)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn admitted(caller: Option<Caller>, path: &str, header: Option<&str>) -> Result<Option<String>, Denial> {
        let tokens = Tokens::parse(&format!("grafana read {TOKEN}")).unwrap();
        let mut request = Request::builder().uri(path);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let visit = Visit { caller, is_local_port: false };
        let caller = admit(&visit, Some(&tokens), &request.body(()).unwrap())?;
        Ok(caller.map(|caller| caller.name.to_string()))
    }

    #[test]
    fn tokens_open_what_their_scope_says() {
        let good = format!("Bearer {TOKEN}");
        let lower = format!("bearer  {TOKEN}");
        let drain = "/p2psp.admin.v1.RuntimeService/Drain";
        for header in [&good, &lower] {
            assert_eq!(admitted(None, "/metrics", Some(header)), Ok(Some("grafana".to_owned())));
        }
        assert_eq!(admitted(None, "/livez", None), Ok(None));
        assert_eq!(admitted(None, "/livez", Some("Bearer wrong")), Ok(None), "probes are answered anyway");
        assert_eq!(admitted(None, "/metrics", None), Err(Denial::NoToken));
        assert_eq!(admitted(None, "/metrics", Some("Basic eDp5")), Err(Denial::NoToken));
        assert_eq!(admitted(None, "/metrics", Some("Bearer nobody")), Err(Denial::WrongToken));
        let denial = admitted(None, drain, Some(&good)).unwrap_err();
        assert_eq!(denial.to_string(), "this needs the scope admin; grafana has read");
        assert_eq!(denial.status().code(), Code::PermissionDenied);
        assert_eq!(denial.plain().status(), StatusCode::FORBIDDEN);
        let owner = Caller::new("uid 0", Scope::Admin);
        assert_eq!(admitted(Some(owner), drain, None), Ok(Some("uid 0".to_owned())));
    }

    /// A flood of strangers writes ten lines in ten seconds, and the next one says how many it was.
    #[test]
    fn refusals_do_not_fill_the_log() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter(|_| refusals.count(start).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(refusals.count(start + REFUSAL_SPAN), Some(990));
        assert_eq!(refusals.count(start + REFUSAL_SPAN), Some(0));
    }
}
