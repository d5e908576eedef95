//! Asking one process, for as long as the view lives: a watch for who comes and goes, questions for figures. When the process is gone
//! it is tried again; when it says that the watcher was too slow, the watch begins anew. Knows nothing of what is done with the news.

use super::data::{MEMBERS_MAX, News};
use crate::{
    ctl::{PAGE, in_time},
    exit::{Code, Failure},
};
use p2psp_admin::{
    client::{Address, Connection, Credentials},
    v1,
};
use std::{convert::Infallible, time::Duration};
use tokio::{
    select,
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep},
};

/// How long to wait before a process that is gone is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The number by which the view knows the process.
    pub(super) end: usize,
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    /// Longest wait for an answer.
    pub(super) within: Duration,
    /// How often to ask for figures.
    pub(super) every: Duration,
}

/// Where news go: they wait for a view that is behind, and so does the process that tells them, which ends the watch when that takes
/// too long.
pub(super) type Sender = mpsc::Sender<(usize, News)>;

impl Target {
    /// Connects, and asks who is there.
    ///
    /// # Errors
    ///
    /// Nobody answers, or this side is not let in.
    pub(super) async fn open(&self) -> Result<(Connection, v1::Info), Failure> {
        let connection = Connection::open(&self.address, &self.credentials, self.within).await?;
        let info = in_time(self.within, connection.runtime().get_info(v1::GetInfoRequest {})).await?.info;
        Ok((connection, info.unwrap_or_default()))
    }

    /// Asks until nobody takes the news any more. `first` is a connection that is there already.
    pub(super) async fn follow(self, first: Option<(Connection, v1::Info)>, news: Sender) {
        let mut opened = first;
        loop {
            let open = match opened.take() {
                Some(open) => Ok(open),
                None => self.open().await,
            };
            let talked = match open {
                Ok((connection, info)) => Talk { target: &self, connection, news: &news }.run(info).await,
                Err(failure) => Err(failure),
            };
            let why = match talked {
                Ok(never) => match never {},
                Err(failure) => failure.to_string(),
            };
            if news.send((self.end, News::Down(why))).await.is_err() {
                return;
            }
            sleep(RETRY).await;
        }
    }
}

/// One connection.
struct Talk<'a> {
    target: &'a Target,
    connection: Connection,
    news: &'a Sender,
}

impl Talk<'_> {
    async fn run(&self, info: v1::Info) -> Result<Infallible, Failure> {
        let role = info.role();
        self.tell(News::Up(Box::new(info))).await?;
        let mut ticks = interval(self.target.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        match role {
            v1::Role::Splitter => self.splitter(ticks).await,
            v1::Role::Peer => self.peer(ticks).await,
            v1::Role::Unspecified => {
                Err(Failure::new(Code::Runtime, "what answers is neither a splitter nor a peer"))
            }
        }
    }

    async fn tell(&self, news: News) -> Result<(), Failure> {
        // Nobody is told of this failure: the view is gone.
        self.news
            .send((self.target.end, news))
            .await
            .map_err(|_| Failure::new(Code::Runtime, "the view ended"))
    }

    async fn splitter(&self, mut ticks: Interval) -> Result<Infallible, Failure> {
        use v1::watch_team_response::Event;
        let mut client = self.connection.splitter();
        loop {
            let request = v1::WatchTeamRequest::default();
            let mut messages = in_time(self.target.within, client.watch_team(request)).await?;
            let end = loop {
                select! {
                    message = messages.message() => match message {
                        Ok(message) => match message.ok_or_else(ended)?.event {
                            Some(Event::Snapshot(all)) => self.tell(News::Members(all.peers)).await?,
                            Some(Event::Changed(peer)) => self.tell(News::Member(peer)).await?,
                            Some(Event::Departed(gone)) => self.tell(News::Gone(gone)).await?,
                            None => {}
                        },
                        Err(status) => break status,
                    },
                    _ = ticks.tick() => self.ask_splitter().await?,
                }
            };
            self.again(end, &mut ticks).await?;
        }
    }

    async fn peer(&self, mut ticks: Interval) -> Result<Infallible, Failure> {
        use v1::watch_neighbours_response::Event;
        let mut client = self.connection.peer();
        loop {
            let request = v1::WatchNeighboursRequest::default();
            let mut messages = in_time(self.target.within, client.watch_neighbours(request)).await?;
            let end = loop {
                select! {
                    message = messages.message() => match message {
                        Ok(message) => match message.ok_or_else(ended)?.event {
                            Some(Event::Snapshot(all)) => self.tell(News::Neighbours(all.neighbours)).await?,
                            Some(Event::Changed(neighbour)) => self.tell(News::Neighbour(neighbour)).await?,
                            Some(Event::Departed(gone)) => self.tell(News::Left(gone)).await?,
                            None => {}
                        },
                        Err(status) => break status,
                    },
                    _ = ticks.tick() => self.ask_peer().await?,
                }
            };
            self.again(end, &mut ticks).await?;
        }
    }

    /// Whether a watch begins anew, and not at once: the process is busy.
    async fn again(&self, end: tonic::Status, ticks: &mut Interval) -> Result<(), Failure> {
        if end.code() != tonic::Code::ResourceExhausted {
            return Err(end.into());
        }
        ticks.tick().await;
        Ok(())
    }

    async fn ask_splitter(&self) -> Result<(), Failure> {
        let within = self.target.within;
        let mut client = self.connection.splitter();
        if let Some(team) = in_time(within, client.get_team(v1::GetTeamRequest {})).await?.team {
            self.tell(News::Team(Box::new(team))).await?;
        }
        if let Some(channel) = in_time(within, client.get_channel(v1::GetChannelRequest {})).await?.channel {
            self.tell(News::Channel(Box::new(channel))).await?;
        }
        let mut members = Vec::new();
        let mut request = v1::ListPeersRequest { page_size: PAGE, ..v1::ListPeersRequest::default() };
        loop {
            let page = in_time(within, client.list_peers(request.clone())).await?;
            members.extend(page.peers);
            if page.next_page_token.is_empty() || members.len() >= MEMBERS_MAX {
                return self.tell(News::Moved(members)).await;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn ask_peer(&self) -> Result<(), Failure> {
        let within = self.target.within;
        let mut client = self.connection.peer();
        if let Some(status) = in_time(within, client.get_status(v1::GetStatusRequest {})).await?.status {
            self.tell(News::Status(Box::new(status))).await?;
        }
        let mut neighbours = Vec::new();
        let mut request = v1::ListNeighboursRequest { page_size: PAGE, ..Default::default() };
        loop {
            let page = in_time(within, client.list_neighbours(request.clone())).await?;
            neighbours.extend(page.neighbours);
            if page.next_page_token.is_empty() || neighbours.len() >= MEMBERS_MAX {
                return self.tell(News::Shifted(neighbours)).await;
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn ended() -> Failure {
    Failure::new(Code::NoSeat, "the process has ended")
}
