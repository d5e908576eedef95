//! A peer whose teammates and buffer the test writes, behind the real server, and what its operators ask and tell it.

use crate::{
    lines::Lines,
    strict::{details, field},
    team::{DEADLINE, peer_id},
};
use p2psp_admin::{
    Admin, Answer, Bind, Guard, Journal, PeerBackend, Process, Reason, Refusal, Server,
    client::{Connection, Credentials},
    v1,
};
use prost_types::FieldMask;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use v1::watch_neighbours_response::Event;

#[derive(Debug)]
pub(crate) struct Peer {
    neighbours: Journal<v1::Neighbour>,
    pub(crate) buffer: Mutex<Result<Option<v1::BufferMap>, Refusal>>,
    /// Whoever holds it keeps the machine from answering.
    pub(crate) machine: tokio::sync::Mutex<()>,
    /// How often the machine was asked for the buffer.
    pub(crate) asked: AtomicU32,
    drains: AtomicU32,
}

impl PeerBackend for Peer {
    fn info(&self) -> v1::Info {
        v1::Info { role: v1::Role::Peer.into(), ..v1::Info::default() }
    }

    fn status(&self) -> v1::PeerStatus {
        v1::PeerStatus::default()
    }

    fn neighbours(&self) -> &Journal<v1::Neighbour> {
        &self.neighbours
    }

    fn buffer(&self) -> Answer<'_, Option<v1::BufferMap>> {
        let buffer = self.buffer.lock().unwrap().clone();
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            drop(self.machine.lock().await);
            buffer
        })
    }
}

impl Process for Peer {
    fn config(&self) -> String {
        String::new()
    }

    fn log_level(&self) -> String {
        String::new()
    }

    fn set_log_level(&self, _: &str) -> Result<String, Refusal> {
        Ok(String::new())
    }

    fn drain(&self) {
        self.drains.fetch_add(1, Ordering::Relaxed);
    }
}

/// Its running admin port, on loopback.
pub(crate) struct Lab {
    pub(crate) peer: Arc<Peer>,
    bind: Bind,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Lab {
    pub(crate) async fn open() -> Self {
        let peer = Arc::new(Peer {
            neighbours: Journal::new(0xfeed),
            buffer: Mutex::new(Ok(None)),
            machine: tokio::sync::Mutex::default(),
            asked: AtomicU32::new(0),
            drains: AtomicU32::new(0),
        });
        let server = Server::open(&["127.0.0.1:0".parse().unwrap()], Guard::default()).await.unwrap();
        let bind = server.binds().first().unwrap().clone();
        let (end, ended) = oneshot::channel::<()>();
        let admin = Admin::peer(Arc::<Peer>::clone(&peer), Arc::<Peer>::clone(&peer));
        let run = server.run(admin, std::future::pending(), async { ended.await.unwrap_or_default() });
        Self { peer, bind, end, task: tokio::spawn(run) }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.bind.clone().into(), &Credentials::default(), DEADLINE).await.unwrap()
    }

    pub(crate) async fn close(self) {
        self.end.send(()).unwrap();
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }
}

fn neighbour(slot: u16) -> v1::Neighbour {
    let peer = peer_id(slot).to_string();
    let candidates = vec!["192.0.2.1:4480".to_owned()];
    v1::Neighbour { slot: slot.into(), peer, linked: true, candidates, ..v1::Neighbour::default() }
}

/// A peer is asked to leave once for each request id, with a line for the first one and one that says that it came again.
#[tokio::test]
async fn a_peer_leaves_once() {
    let lab = Lab::open().await;
    let connection = lab.connect().await;
    let (mut client, mut runtime) = (connection.peer(), connection.runtime());
    let lines = Lines::catch();
    for says in ["a command was carried out", "a command came again"] {
        client.leave(v1::LeaveRequest { request_id: "bye".to_owned() }).await.unwrap();
        lines.one(&["by=\"loopback\"", "method=\"Leave\"", "\"bye\"", says]);
        assert_eq!(lab.peer.drains.load(Ordering::Relaxed), 1);
    }
    let info = runtime.get_info(v1::GetInfoRequest {}).await.unwrap().into_inner().info.unwrap();
    assert_eq!(info.state(), v1::RuntimeState::Draining);
    // The id is that of a command, not of every command.
    client.leave(v1::LeaveRequest { request_id: "again".to_owned() }).await.unwrap();
    runtime.drain(v1::DrainRequest { request_id: "bye".to_owned() }).await.unwrap();
    assert_eq!(lab.peer.drains.load(Ordering::Relaxed), 3);
    lab.close().await;
}

/// Pages give every teammate once, in order, while one leaves; a mask gives what it names. An unknown path and a token of another run are
/// refused with the field's name, and a line each.
#[tokio::test]
async fn teammates_are_listed() {
    let lab = Lab::open().await;
    (0..5).for_each(|slot| lab.peer.neighbours.put(slot, neighbour(slot)));
    let mut client = lab.connect().await.peer();
    let list = |page_size, page_token: &str, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let read_mask = (!paths.is_empty()).then_some(FieldMask { paths });
        v1::ListNeighboursRequest { page_size, page_token: page_token.to_owned(), read_mask }
    };
    let first = client.list_neighbours(list(2, "", &[])).await.unwrap().into_inner();
    assert_eq!((first.neighbours, first.total_size), (vec![neighbour(0), neighbour(1)], 5));
    lab.peer.neighbours.remove(1, "left");
    let masked = list(2, &first.next_page_token, &["slot", "linked"]);
    let second = client.list_neighbours(masked).await.unwrap().into_inner();
    let bare = |slot| v1::Neighbour { slot, linked: true, ..v1::Neighbour::default() };
    assert_eq!((second.neighbours, second.total_size), (vec![bare(2), bare(3)], 4));
    let last = client.list_neighbours(list(2, &second.next_page_token, &[])).await.unwrap().into_inner();
    assert_eq!((last.neighbours, &*last.next_page_token), (vec![neighbour(4)], ""));

    let lines = Lines::catch();
    let stale = first.next_page_token.replace("feed", "beef");
    for (request, name, reason) in [
        (list(2, &stale, &[]), "page_token", Reason::StalePageToken),
        (list(2, "feed-x", &[]), "page_token", Reason::InvalidField),
        (list(2, "", &["slot", "weight"]), "read_mask", Reason::InvalidField),
        (list(513, "", &[]), "page_size", Reason::InvalidField),
    ] {
        assert_eq!(field(&details(client.list_neighbours(request).await, reason)), name);
        lines.one(&["by=\"loopback\" from=\"127.0.0.1:", "ListNeighbours", reason.name(), name]);
    }
    lab.close().await;
}

/// A watcher gets all teammates, then each change as the next revision, and goes on where it was cut.
#[tokio::test]
async fn teammates_are_watched() {
    let lab = Lab::open().await;
    (0..2).for_each(|slot| lab.peer.neighbours.put(slot, neighbour(slot)));
    let mut client = lab.connect().await.peer();
    let mut messages =
        client.watch_neighbours(v1::WatchNeighboursRequest::default()).await.unwrap().into_inner();
    let mut next = async || timeout(DEADLINE, messages.message()).await.unwrap().unwrap().unwrap();
    let snapshot = v1::NeighbourSnapshot { neighbours: vec![neighbour(0), neighbour(1)] };
    let first = next().await;
    assert_eq!((first.revision, first.event), (2, Some(Event::Snapshot(snapshot))));
    let cut = v1::Neighbour { linked: false, ..neighbour(1) };
    lab.peer.neighbours.put(1, cut.clone());
    lab.peer.neighbours.remove(0, "left");
    let gone = v1::NeighbourDeparture { slot: 0, peer: peer_id(0).to_string() };
    let changed = next().await;
    assert_eq!((changed.revision, changed.event), (3, Some(Event::Changed(cut))));
    let departed = (4, Some(Event::Departed(gone)));
    let last = next().await;
    assert_eq!((last.revision, last.event), departed);

    let request = v1::WatchNeighboursRequest { resume_token: changed.resume_token };
    let mut messages = lab.connect().await.peer().watch_neighbours(request).await.unwrap().into_inner();
    let again = timeout(DEADLINE, messages.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((again.revision, again.event), departed);
    lab.close().await;
}
