//! Who is let in with a request: the caller that the connection or a bearer token names, if its scope suffices. Owns how a refusal is
//! told, to the caller and in the log.

use super::route::{TEXT, Visit, respond};
use crate::{
    access::{Caller, Scope, Tokens, needed},
    service::{Reason, detailed, limits::HEAD_BYTES_MAX},
};
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE},
};
use std::{fmt, sync::Arc};
use tonic::{Status, body::Body};

/// How a request's body is compressed.
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// No token came with it.
    NoToken,
    /// What came is nobody's token.
    WrongToken,
    /// The caller may do less than that.
    Scope { caller: Caller, needed: Scope },
    /// A page in a browser may be behind it; why it looks so.
    Browser(&'static str),
    /// So many bytes of names and values.
    HeadTooLarge(usize),
    /// It is compressed: what it would grow to is not known.
    Compressed,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("send a token: authorization: Bearer TOKEN"),
            Self::WrongToken => f.write_str("this token is none of those that are let in"),
            Self::Scope { caller, needed } => {
                write!(f, "this needs the scope {needed}; {} has {}", caller.name, caller.scope)
            }
            Self::Browser(why) => f.write_str(why),
            Self::HeadTooLarge(bytes) => {
                write!(f, "a request's head has at most {HEAD_BYTES_MAX} bytes, this one has {bytes}")
            }
            Self::Compressed => f.write_str("requests are small: send them without compression"),
        }
    }
}

impl Denial {
    const fn reason(&self) -> Reason {
        match self {
            Self::NoToken => Reason::NoToken,
            Self::WrongToken => Reason::WrongToken,
            Self::Scope { .. } => Reason::Scope,
            Self::Browser(_) => Reason::Browser,
            Self::HeadTooLarge(_) => Reason::HeadTooLarge,
            Self::Compressed => Reason::Compressed,
        }
    }

    /// Who was refused, if that is known.
    pub(super) fn by(&self) -> Option<&Arc<str>> {
        match self {
            Self::Scope { caller, .. } => Some(&caller.name),
            Self::NoToken
            | Self::WrongToken
            | Self::Browser(_)
            | Self::HeadTooLarge(_)
            | Self::Compressed => None,
        }
    }

    /// As gRPC tells it.
    pub(super) fn status(&self) -> Status {
        let max = HEAD_BYTES_MAX.to_string();
        let (needed, has);
        let metadata = match self {
            Self::Scope { caller, needed: scope } => {
                (needed, has) = (scope.to_string(), caller.scope.to_string());
                &[("needed", needed.as_str()), ("has", has.as_str())][..]
            }
            Self::HeadTooLarge(_) => &[("bytes_max", max.as_str())],
            Self::NoToken | Self::WrongToken | Self::Browser(_) | Self::Compressed => &[],
        };
        detailed(self.reason(), self.to_string(), metadata, |_| {})
    }

    /// As plain HTTP tells it (RFC 6750, 3).
    pub(super) fn plain(&self) -> Response<Body> {
        let (status, challenge) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, Some("Bearer".to_owned())),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\"".to_owned())),
            Self::Scope { needed, .. } => {
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{needed}\"");
                (StatusCode::FORBIDDEN, Some(challenge))
            }
            Self::Browser(_) => (StatusCode::FORBIDDEN, None),
            Self::HeadTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None),
            Self::Compressed => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        };
        let mut response = respond(status, TEXT, format!("{self}\n"));
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Whether a request's head and encoding are what can be answered.
pub(super) fn measure<B>(request: &Request<B>) -> Result<(), Denial> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len())
        + uri.authority().map_or(0, |authority| authority.as_str().len());
    let bytes = head_bytes(request.headers()) + target;
    if bytes > HEAD_BYTES_MAX {
        return Err(Denial::HeadTooLarge(bytes));
    }
    match request.headers().get(ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Denial::Compressed),
        _ => Ok(()),
    }
}

/// Names and values, and 32 for each (RFC 9113, 6.5.2).
fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn admitted(caller: Option<Caller>, path: &str, header: Option<&str>) -> Result<Option<String>, Denial> {
        let tokens = Tokens::parse(&format!("grafana read {TOKEN}")).unwrap();
        let mut request = Request::builder().uri(path);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let visit = Visit {
            from: "test".into(),
            caller,
            is_local_port: false,
            known: Arc::default(),
            asked: Arc::default(),
        };
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

    /// A head may be as long as the limit says, and not a byte longer.
    #[test]
    fn heads_are_measured() {
        let request = |bytes: usize| {
            let rest = bytes - "/".len() - "x".len() - 32;
            Request::builder().uri("/").header("x", "y".repeat(rest)).body(()).unwrap()
        };
        assert_eq!(measure(&request(HEAD_BYTES_MAX)), Ok(()));
        assert_eq!(measure(&request(HEAD_BYTES_MAX + 1)), Err(Denial::HeadTooLarge(HEAD_BYTES_MAX + 1)));
    }
}
