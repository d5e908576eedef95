//! From a request to whoever answers it: metrics and probes over plain HTTP, everything else gRPC. Turns away browsers: a page that
//! someone on this machine opens must not steer the process.

use super::{
    Admin, Role, Shared,
    calls::Calls,
    door::{self, Denial},
    refusals::{Refusals, Whose},
    reply,
};
use crate::{
    DESCRIPTORS,
    access::Caller,
    guard::Guard,
    metrics,
    service::{
        Mutations, PeerCalls, Reason, RuntimeCalls, SplitterCalls, Work, detailed,
        limits::{CALLS_MAX, LOOKS_MAX, REQUEST_BYTES_MAX},
        refusal,
    },
    v1::{
        RuntimeState, peer_service_server::PeerServiceServer, runtime_service_server::RuntimeServiceServer,
        splitter_service_server::SplitterServiceServer,
    },
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;
use tonic::{Status, body::Body, server::NamedService};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower_service::Service;

/// What plain HTTP offers.
const PATHS: &str = "/metrics  for Prometheus\n/livez    the process answers\n/readyz   the process is at work\n\nEverything else \
                     is gRPC, with reflection: p2psp.admin.v1\n";

/// What a connection says of its requests.
#[derive(Debug)]
pub(super) struct Visit {
    /// Where they come from.
    pub(super) from: Arc<str>,
    /// Who makes them; `None` where each must show a token.
    pub(super) caller: Option<Caller>,
    /// It came to a loopback port, which this machine's browsers reach under any name that points here.
    pub(super) is_local_port: bool,
    /// Turns true once someone who is let in made a request.
    pub(super) known: Arc<AtomicBool>,
    /// Turns true once anyone made a request: what became of it has been told.
    pub(super) asked: Arc<AtomicBool>,
}

type Handler = Box<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Everything that answers.
pub(super) struct App {
    shared: Arc<Shared>,
    /// By the name of their service.
    services: BTreeMap<&'static str, Handler>,
    health: HealthReporter,
    /// The services whose health is told; the empty name is the process.
    names: Vec<&'static str>,
    guard: watch::Receiver<Guard>,
    refusals: Arc<Refusals>,
    calls: Arc<Calls>,
    mutations: Arc<Mutations>,
}

impl App {
    pub(super) fn new(admin: Admin, shared: Arc<Shared>, guard: watch::Receiver<Guard>) -> Self {
        let Admin { process, role } = admin;
        let mutations = Arc::new(Mutations::new());
        let (health, health_service) = tonic_health::server::health_reporter();
        let (services, names) = (BTreeMap::new(), vec![""]);
        let (refusals, calls) = (Arc::default(), Arc::default());
        let mut app = Self {
            shared,
            services,
            health,
            names,
            guard,
            refusals,
            calls,
            mutations: Arc::clone(&mutations),
        };
        app.add(health_service.max_decoding_message_size(REQUEST_BYTES_MAX));
        let (shared, runtime_process) = (Arc::clone(&app.shared), Arc::clone(&process));
        let runtime = RuntimeCalls { shared, process: runtime_process, mutations: Arc::clone(&mutations) };
        app.add(RuntimeServiceServer::new(runtime).max_decoding_message_size(REQUEST_BYTES_MAX));
        app.names.push(<RuntimeServiceServer<RuntimeCalls> as NamedService>::NAME);
        let (shared, looks) = (Arc::clone(&app.shared), Arc::new(Work::new(LOOKS_MAX)));
        match role {
            Role::Splitter(backend) => {
                let calls = SplitterCalls { shared, backend, mutations, looks };
                app.add(SplitterServiceServer::new(calls).max_decoding_message_size(REQUEST_BYTES_MAX));
                app.names.push(<SplitterServiceServer<SplitterCalls> as NamedService>::NAME);
            }
            Role::Peer(backend) => {
                let calls = PeerCalls { shared, process, backend, mutations, looks };
                app.add(PeerServiceServer::new(calls).max_decoding_message_size(REQUEST_BYTES_MAX));
                app.names.push(<PeerServiceServer<PeerCalls> as NamedService>::NAME);
            }
        }
        // What is served is what is shown.
        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            app.names
                .iter()
                .filter(|name| !name.is_empty())
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        const BUILT_IN: &str = "our own descriptors are well formed";
        let v1 = reflection().with_service_name("grpc.health.v1.Health").build_v1().expect(BUILT_IN);
        let v1alpha =
            reflection().with_service_name("grpc.health.v1.Health").build_v1alpha().expect(BUILT_IN);
        app.add(v1.max_decoding_message_size(REQUEST_BYTES_MAX));
        app.add(v1alpha.max_decoding_message_size(REQUEST_BYTES_MAX));
        app
    }

    /// Tells the health service.
    pub(super) async fn set_health(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &self.names {
            self.health.set_service_status(*name, status).await;
        }
    }

    /// Where refusals are told.
    pub(super) const fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Waits until no command is under way, also of a caller that has gone.
    pub(super) async fn over(&self) {
        self.mutations.over().await;
    }

    /// Answers a request.
    pub(super) async fn answer(&self, visit: &Visit, mut request: Request<Incoming>) -> Response<Body> {
        visit.asked.store(true, Ordering::Relaxed);
        let is_grpc = is_grpc(&request);
        let tokens = self.guard.borrow().tokens.clone();
        let admitted = door::measure(&request)
            .and_then(|()| browser(visit, &request))
            .and_then(|()| door::admit(visit, tokens.as_deref(), &request));
        let caller = match admitted {
            Ok(caller) => caller,
            Err(denial) => {
                let by = denial.by().or_else(|| visit.caller.as_ref().map(|caller| &caller.name));
                let (whose, status) = (Whose::new(&visit.from, by, request.uri().path()), denial.status());
                self.refusals.tell(&whose, &status);
                return if is_grpc { status.into_http() } else { denial.plain() };
            }
        };
        let whose = Whose::new(&visit.from, caller.as_ref().map(|caller| &caller.name), request.uri().path());
        if let Some(caller) = &caller {
            visit.known.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(caller.clone());
        }
        let path = request.uri().path();
        match path {
            "/" | "/metrics" | "/livez" | "/readyz" => self.plain(request.method(), path, caller.is_some()),
            _ => match service_of(path).and_then(|name| self.services.get(name)) {
                Some(handler) => {
                    // What strangers may ask has answers of a few bytes.
                    let call = match caller.map(|caller| self.calls.begin(&caller.name)) {
                        Some(None) => return self.refuse(too_many_calls(), whose),
                        Some(call) => call,
                        None => None,
                    };
                    reply::finish(handler(request).await, whose, &self.refusals, call)
                }
                None if is_grpc => {
                    let message =
                        format!("{:?} is none of the services here; list them by reflection", &*whose.call);
                    self.refuse(refusal(Reason::UnknownMethod, message), whose)
                }
                None => text(StatusCode::NOT_FOUND, PATHS),
            },
        }
    }

    fn refuse(&self, status: Status, whose: Whose) -> Response<Body> {
        reply::finish(status.into_http(), whose, &self.refusals, None)
    }

    fn plain(&self, method: &Method, path: &str, is_known: bool) -> Response<Body> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => respond(StatusCode::OK, metrics::CONTENT_TYPE, self.shared.metrics()),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let info = self.shared.info();
                match info.state() {
                    RuntimeState::Ready => text(StatusCode::OK, "ok\n"),
                    state @ (RuntimeState::Unspecified | RuntimeState::Starting | RuntimeState::Draining) => {
                        // Why may name addresses: strangers hear only that it is so.
                        let reason = if is_known { info.reason.as_str() } else { "not at work" };
                        let body = format!("{}: {reason}\n", state.name());
                        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, body)
                    }
                }
            }
            _ => text(StatusCode::OK, PATHS),
        }
    }

    fn add<S>(&mut self, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let handler: Handler = Box::new(move |request| {
            let mut service = service.clone();
            Box::pin(async move {
                match service.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        });
        self.services.insert(S::NAME, handler);
    }
}

fn too_many_calls() -> Status {
    let max = CALLS_MAX.to_string();
    let message = format!("{max} calls of this caller are under way: end some, or read their answers");
    detailed(Reason::TooManyCalls, message, &[("calls_max", &max)], |details| {
        details.add_quota_failure_violation("calls under way", format!("at most {max} of one caller"));
    })
}

/// The service of `/package.Service/Method`.
fn service_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(service, _)| service)
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Turns a request away if a page in a browser may be behind it: it comes from a site, or asks a loopback port for a name that someone
/// else made to point here.
fn browser<B>(visit: &Visit, request: &Request<B>) -> Result<(), Denial> {
    if request.headers().contains_key(ORIGIN) {
        return Err(Denial::Browser("pages must not use the admin port"));
    }
    if !visit.is_local_port {
        return Ok(());
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let authority = request.uri().authority().cloned().or(host);
    let is_here = authority.is_some_and(|authority| is_loopback(authority.host()));
    let problem = Denial::Browser("ask for this port as localhost or by its loopback address");
    if is_here { Ok(()) } else { Err(problem) }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    respond(status, TEXT, body)
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &'static str); 2] = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "192.0.2.1", "[2001:db8::1]", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn paths_name_services() {
        assert_eq!(service_of("/p2psp.admin.v1.PeerService/Leave"), Some("p2psp.admin.v1.PeerService"));
        assert_eq!(service_of("/metrics"), None);
        assert_eq!(service_of("*"), None);
    }
}
