//! What the player port answers to a request. Owns paths, methods, headers and the sentences of refusals; sockets and
//! the number of connections are the server's.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::access::{HostRefusal, allowed_origin, check_host, printable};
use super::assets::{self, Asset};
use super::body::{Closing, EventBody, ReplyBody, StreamBody};
use super::config::PlayoutConfig;
use super::counters::{Counters, Feed, PlayoutStats, count};
use super::format;
use super::shared::SharedSpool;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);
/// Seconds after which a refused player should ask again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");

pub(super) type Reply = Response<ReplyBody>;

/// What all requests share.
pub(super) struct App {
    pub(super) config: PlayoutConfig,
    pub(super) spool: SharedSpool,
    pub(super) counters: Arc<Counters>,
    pub(super) stats: Box<dyn Fn() -> Value + Send + Sync>,
    pub(super) closing: Closing,
}

/// Answers one request that came in on `local`.
pub(super) async fn answer(app: &Arc<App>, local: SocketAddr, request: &Parts) -> Reply {
    let authority =
        match check_host(&request.headers, &request.uri, request.version, local, &app.config.host_names) {
            Ok(authority) => authority,
            Err(refusal) => return app.refuse_host(refusal, local),
        };
    let path = request.uri.path();
    let origin =
        allowed_origin(&request.headers, &app.config.cors_origins).filter(|_| path.starts_with("/live"));
    let mut reply = match request.method {
        Method::GET | Method::HEAD => app.get(path, &authority, request).await,
        Method::OPTIONS => preflight(request, origin.is_some()),
        _ => {
            count(&app.counters.refused_method);
            let mut reply =
                sentence(StatusCode::METHOD_NOT_ALLOWED, "this port only plays: use GET, HEAD or OPTIONS");
            reply.headers_mut().insert(ALLOW, METHODS);
            reply
        }
    };
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !app.config.cors_origins.is_empty() {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    // Without it any page could embed the stream and so learn what is watched here, though not read it.
    let sharing = if origin.is_some() { "cross-origin" } else { "same-origin" };
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static(sharing));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    reply
}

/// Answers a request on a connection beyond the limit.
pub(super) fn answer_full(app: &App) -> Reply {
    count(&app.counters.refused_full);
    let text = format!(
        "all {} connections of this player port are in use: close a player, or raise the limit on connections",
        app.config.connections_max
    );
    let mut reply = sentence(StatusCode::SERVICE_UNAVAILABLE, &text);
    reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

impl App {
    pub(super) fn snapshot(&self) -> PlayoutStats {
        self.counters.snapshot(self.spool.stats().skips)
    }

    async fn get(self: &Arc<Self>, path: &str, authority: &str, request: &Parts) -> Reply {
        if let Some(asset) = assets::find(path) {
            return give_asset(asset, request);
        }
        match path {
            "/live" => self.live(None, authority, request).await,
            "/live.m3u" | "/live.m3u8" => self.playlist(authority),
            "/stats" => reply(StatusCode::OK, "application/json", self.stats_line()),
            "/events" => self.events(request),
            _ => match path.strip_prefix("/live.") {
                Some(extension) if format::is_extension(extension) => {
                    self.live(Some(extension), authority, request).await
                }
                _ => self.not_found(path),
            },
        }
    }

    async fn live(&self, extension: Option<&str>, authority: &str, request: &Parts) -> Reply {
        let mut reader = self.spool.reader();
        let start = timeout(self.config.start_wait, poll_fn(|context| reader.poll_start(context)));
        let header = tokio::select! {
            started = start => started.ok().flatten(),
            () = self.closing.clone().begun() => None,
        };
        let Some(header) = header else { return self.not_ready() };
        let kind = header.content_type.as_str();
        if extension.is_some_and(|extension| !format::extensions(kind).contains(&extension)) {
            count(&self.counters.refused_not_found);
            let (kind, right) = (printable(kind), format::live_path(kind));
            return sentence(
                StatusCode::NOT_FOUND,
                &format!("this stream is {kind}: open http://{authority}{right}"),
            );
        }
        let body = if request.method == Method::HEAD {
            ReplyBody::Untold
        } else {
            ReplyBody::Stream(StreamBody::new(
                reader,
                &self.config,
                self.closing.clone(),
                Arc::clone(&self.counters),
            ))
        };
        let mut reply = Response::new(body);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, format::safe_type(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        reply
    }

    fn playlist(&self, authority: &str) -> Reply {
        let path = match self.spool.header() {
            Some(header) => format::live_path(&header.content_type),
            None => "/live".to_owned(),
        };
        let name = self.config.channel_name.replace(char::is_control, " ");
        let text = format!("#EXTM3U\n#EXTINF:-1,{name}\nhttp://{authority}{path}\n");
        reply(StatusCode::OK, "audio/x-mpegurl; charset=utf-8", text)
    }

    fn events(self: &Arc<Self>, request: &Parts) -> Reply {
        let body = if request.method == Method::HEAD {
            ReplyBody::Untold
        } else {
            let limit = self.config.event_feeds_max;
            let Some(feed) = Feed::open(&self.counters, limit) else {
                count(&self.counters.refused_full);
                let text = format!(
                    "{limit} pages watch this peer already: close one, or ask for /stats now and then"
                );
                let mut reply = sentence(StatusCode::SERVICE_UNAVAILABLE, &text);
                reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
                return reply;
            };
            let app = Arc::clone(self);
            ReplyBody::Events(EventBody::new(move || app.stats_line(), feed, self.closing.clone()))
        };
        let mut reply = Response::new(body);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    /// The callback's object with this port's own figures under `playout`, on one line.
    fn stats_line(&self) -> String {
        let mut own = serde_json::to_value(self.snapshot()).unwrap_or_default();
        let kind = self.spool.header().map(|header| header.content_type.clone());
        if let Value::Object(own) = &mut own {
            own.insert("live_path".to_owned(), kind.as_deref().map(format::live_path).into());
            own.insert("content_type".to_owned(), kind.into());
            own.insert("name".to_owned(), self.config.channel_name.clone().into());
        }
        let mut stats = (self.stats)();
        if !stats.is_object() {
            stats = serde_json::json!({ "peer": stats });
        }
        if let Value::Object(stats) = &mut stats {
            stats.insert("playout".to_owned(), own);
        }
        stats.to_string()
    }

    fn refuse_host(&self, refusal: HostRefusal, local: SocketAddr) -> Reply {
        count(&self.counters.refused_host);
        match refusal {
            HostRefusal::Malformed => sentence(
                StatusCode::BAD_REQUEST,
                "the request must name this server in exactly one Host header",
            ),
            HostRefusal::Foreign(name) => sentence(
                StatusCode::MISDIRECTED_REQUEST,
                &format!(
                    "this player port does not answer to the name {name}: open http://localhost:{}/, or start the \
                     peer with --player-host {name}",
                    local.port()
                ),
            ),
        }
    }

    fn not_ready(&self) -> Reply {
        count(&self.counters.refused_not_ready);
        let text = if self.spool.is_closed() {
            "the stream is over"
        } else if self.spool.header().is_none() {
            "the stream has not begun: is the source sending, and has this peer joined its team? Try again"
        } else {
            "the stream has no point to start at yet; the next keyframe will be one. Try again"
        };
        let mut reply = sentence(StatusCode::SERVICE_UNAVAILABLE, text);
        reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        reply
    }

    fn not_found(&self, path: &str) -> Reply {
        count(&self.counters.refused_not_found);
        let live = self.spool.header().map_or_else(String::new, |header| {
            let path = format::live_path(&header.content_type);
            if path == "/live" { String::new() } else { format!("{path}, ") }
        });
        let text = format!(
            "nothing is at {}; this port has / (the player page), /live, {live}/live.m3u, /stats and /events",
            printable(path)
        );
        sentence(StatusCode::NOT_FOUND, &text)
    }
}

fn give_asset(asset: &Asset, request: &Parts) -> Reply {
    let etag = asset.etag();
    let known = request.headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let fresh =
        known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag || tag.trim() == "*"));
    let mut reply = if fresh {
        let mut reply = Response::new(ReplyBody::Full(None));
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else {
        reply(StatusCode::OK, asset.content_type, Bytes::from_static(asset.bytes))
    };
    let headers = reply.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(etag).expect("hexadecimal digits in quotes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(asset.cache_control()));
    if asset.path == "/" {
        headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    reply
}

fn preflight(request: &Parts, allowed: bool) -> Reply {
    let mut reply = Response::new(ReplyBody::Full(None));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ALLOW, METHODS);
    if allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Range"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        if request.headers.contains_key(REQUEST_PRIVATE) {
            headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
        }
    }
    reply
}

/// One sentence for a person, who may be reading it in a terminal.
fn sentence(status: StatusCode, text: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn reply(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::Full(Some(bytes.into())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
