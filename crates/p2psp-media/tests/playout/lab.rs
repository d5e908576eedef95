//! A play-out server on a loopback socket, and clients that speak HTTP by hand: what a real player's library would tidy
//! up (chunked coding, closed connections, odd heads) is the very thing under test.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use p2psp_media::playout::{
    PlayoutConfig, PlayoutServer, PlayoutStats, SharedSpool, ShutdownReport, SpoolLimits, Unit,
};
use p2psp_media::record::StreamHeader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No wait in these tests takes so long unless something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const HEADER: &[u8] = b"<stream header>";

pub(crate) struct Lab {
    pub(crate) spool: SharedSpool,
    pub(crate) address: SocketAddr,
    stats: Box<dyn Fn() -> PlayoutStats>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<ShutdownReport>,
}

/// Defaults for tests: any port, writes at once.
pub(crate) fn config() -> PlayoutConfig {
    PlayoutConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        write_interval: Duration::ZERO,
        ..PlayoutConfig::default()
    }
}

impl Lab {
    /// A server whose stream has not begun.
    pub(crate) async fn silent(config: PlayoutConfig, limits: SpoolLimits) -> Self {
        let spool = SharedSpool::new(limits);
        let peer = || serde_json::json!({ "team_peers": 5 });
        let server = PlayoutServer::bind(config, spool.clone(), peer).await.unwrap();
        let address = server.local_addr();
        let stats = Box::new(server.stats());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(server.run(async { stopped.await.unwrap_or(()) }));
        Self { spool, address, stats, stop, server }
    }

    /// A server whose stream has begun with unit 0, a random-access point.
    pub(crate) async fn playing(kind: &str, config: PlayoutConfig) -> Self {
        let lab = Self::silent(config, SpoolLimits::default()).await;
        lab.header(kind, 0);
        lab.push(0, true);
        lab
    }

    pub(crate) fn header(&self, kind: &str, version: u8) {
        let header =
            StreamHeader { version, content_type: kind.to_owned(), bytes: Bytes::from_static(HEADER) };
        self.spool.set_header(header).unwrap();
    }

    pub(crate) fn push(&self, number: u64, random_access: bool) {
        self.spool.push(Unit { payload: payload(number), random_access, header_version: 0 });
    }

    pub(crate) fn stats(&self) -> PlayoutStats {
        (self.stats)()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client that has sent `GET path` and read the answer's head.
    pub(crate) async fn get(&self, path: &str) -> (Client, Head) {
        let mut client = self.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let head = client.head().await;
        (client, head)
    }

    /// The status of whatever `request` gets, and the whole answer.
    pub(crate) async fn ask(&self, request: &str) -> (u16, String) {
        let mut client = self.client().await;
        client.send(request).await;
        let head = client.head().await;
        let body = if [204, 304].contains(&head.status) || request.starts_with("HEAD") {
            Vec::new()
        } else {
            client.body(&head).await
        };
        (head.status, head.text + &String::from_utf8_lossy(&body))
    }

    /// Asks for `/stats` until `condition` holds: the server works between two looks, and nobody sleeps.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&PlayoutStats) -> bool) {
        let wait = async {
            while !condition(&self.stats()) {
                self.ask("GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
            }
        };
        assert!(timeout(DEADLINE, wait).await.is_ok(), "never came true: {what}; {:?}", self.stats());
    }

    pub(crate) async fn stop(self) -> ShutdownReport {
        self.stop.send(()).unwrap();
        timeout(DEADLINE, self.server).await.expect("shutdown hangs").unwrap()
    }
}

/// The 1128 bytes of a unit; all bytes tell its number.
pub(crate) fn payload(number: u64) -> Bytes {
    number.to_be_bytes().repeat(141).into()
}

/// Header and units as a player must see them.
pub(crate) fn stream(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    numbers.into_iter().for_each(|number| bytes.extend_from_slice(&payload(number)));
    bytes
}

#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Head {
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.value("content-length").map(|value| value.parse().unwrap())
    }

    pub(crate) fn chunked(&self) -> bool {
        self.value("transfer-encoding") == Some("chunked")
    }
}

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, pending: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.socket.write_all(bytes)).await.expect("sending hangs").unwrap();
    }

    /// Reads once; false at the end, clean or not.
    async fn fill(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match timeout(DEADLINE, self.socket.read(&mut buffer)).await.expect("no byte comes") {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.pending.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.pending.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(
                self.fill().await,
                "the connection ended in {:?}",
                String::from_utf8_lossy(&self.pending)
            );
        }
    }

    pub(crate) async fn head(&mut self) -> Head {
        let mut text = self.line().await;
        let status = text.split(' ').nth(1).expect("a status line").parse().expect("a status");
        loop {
            let line = self.line().await;
            text += "\n";
            if line.is_empty() {
                return Head { status, text };
            }
            text += &line;
        }
    }

    /// The status, unless the connection ends before.
    pub(crate) async fn head_or_end(&mut self) -> Option<u16> {
        while !self.pending.windows(4).any(|end| end == b"\r\n\r\n") {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.head().await.status)
    }

    /// Exactly `count` bytes as they come on the socket.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count {
            assert!(self.fill().await, "the connection ended {} bytes early", count - self.pending.len());
        }
        self.pending.drain(..count).collect()
    }

    /// The next HTTP chunk; `None` for the last, empty one.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().await, 16).expect("a chunk size");
        let chunk = self.exactly(size).await;
        assert_eq!(self.exactly(2).await, b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// At least `count` bytes of a chunked body.
    pub(crate) async fn decoded(&mut self, count: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < count {
            body.extend(self.chunk().await.expect("the stream ended early"));
        }
        body
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.pending)
    }

    /// The whole body, by whatever framing the head announces.
    pub(crate) async fn body(&mut self, head: &Head) -> Vec<u8> {
        if let Some(length) = head.length() {
            return self.exactly(length).await;
        }
        if !head.chunked() {
            return self.rest().await;
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            body.extend(chunk);
        }
        body
    }
}
