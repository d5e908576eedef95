//! Whoever brings a stream to the splitter, as bytes on the wire: HTTP publishers and Icecast's tools, UDP and RTP senders, and
//! a server to be fetched from. All of them send at the stream's own rate.

use crate::{http, wait::Watched};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Bytes a second at which streams are sent: they are made at 1 Mb/s, and nobody waits longer than needed.
const BYTES_PER_S: u64 = 150_000;
/// `source:hackme`, as Icecast's tools send it.
pub const BASIC: &str = "Authorization: Basic c291cmNlOmhhY2ttZQ==\r\n";

/// How a publisher frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// HTTP PUT with `Transfer-Encoding: chunked`, as curl and ffmpeg send.
    PutChunked,
    /// HTTP POST with a length.
    PostLength,
    /// Icecast's PUT: `Expect: 100-continue`, then bytes without framing.
    IcecastPut,
    /// Icecast's older SOURCE over HTTP/1.0: bytes without framing.
    IcecastSource,
}

/// Sends `block` after block at the stream's rate; gives up when `send` does.
///
/// # Errors
///
/// Those of `send`.
pub fn paced<'a>(
    blocks: impl IntoIterator<Item = &'a [u8]>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (start, clock) = (Instant::now(), Watched::new(()));
    let mut sent: u64 = 0;
    for block in blocks {
        send(block)?;
        sent += u64::try_from(block.len()).expect("a count of bytes");
        let due = Duration::from_micros(sent * 1_000_000 / BYTES_PER_S);
        // A live source is as fast as the clock; nothing else is waited for.
        clock.wait(due.saturating_sub(start.elapsed()), |()| None::<()>);
    }
    Ok(())
}

/// Publishes `stream` at `path`, and gives the status of the answer, and its text.
///
/// # Errors
///
/// The connection breaks before there is an answer.
pub fn publish(address: SocketAddr, path: &str, method: Method, stream: &[u8]) -> io::Result<(u16, String)> {
    let mut connection = http::connect(address)?;
    let (head, early) = head(address, path, method, stream.len());
    connection.write_all(head.as_bytes())?;
    if early {
        let answer = early_answer(&connection)?;
        if !matches!(answer, 100 | 200) {
            return Ok((answer, String::new()));
        }
    }
    paced(stream.chunks(2_048), |block| match method {
        Method::PutChunked => {
            write!(connection, "{:x}\r\n", block.len())?;
            connection.write_all(block)?;
            connection.write_all(b"\r\n")
        }
        Method::PostLength | Method::IcecastPut | Method::IcecastSource => connection.write_all(block),
    })?;
    match method {
        Method::PutChunked => connection.write_all(b"0\r\n\r\n")?,
        Method::PostLength => {}
        Method::IcecastPut | Method::IcecastSource => {
            connection.shutdown(Shutdown::Write)?;
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest)?;
            return Ok((200, String::from_utf8_lossy(&rest).into_owned()));
        }
    }
    let response = http::response(connection)?;
    Ok((response.status, response.text()?))
}

/// The head of a publisher's request, and whether it is answered before the body.
fn head(address: SocketAddr, path: &str, method: Method, length: usize) -> (String, bool) {
    let content = "Content-Type: video/mp2t\r\n";
    match method {
        Method::PutChunked => (
            format!("PUT {path} HTTP/1.1\r\nHost: {address}\r\n{BASIC}Transfer-Encoding: chunked\r\n\r\n"),
            false,
        ),
        Method::PostLength => (
            format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\n{BASIC}{content}Content-Length: {length}\r\n\r\n"
            ),
            false,
        ),
        Method::IcecastPut => (
            format!(
                "PUT {path} HTTP/1.1\r\nHost: {address}\r\n{BASIC}User-Agent: test\r\nAccept: */*\r\n\
                 Expect: 100-continue\r\n{content}Ice-Public: 0\r\nIce-Name: test\r\n\r\n"
            ),
            true,
        ),
        Method::IcecastSource => (
            format!("SOURCE {path} HTTP/1.0\r\n{BASIC}{content}ice-name: test\r\nice-public: 0\r\n\r\n"),
            true,
        ),
    }
}

/// Reads one response head and nothing beyond it.
fn early_answer(connection: &TcpStream) -> io::Result<u16> {
    let mut head = Vec::new();
    let mut one = [0];
    let mut reader = connection;
    while !head.ends_with(b"\r\n\r\n") {
        reader.read_exact(&mut one)?;
        head.push(one[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other(head))
}

/// Sends `stream` in UDP datagrams.
///
/// # Errors
///
/// The socket fails.
pub fn udp(address: SocketAddr, stream: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    paced(crate::ts::datagrams(stream), |datagram| socket.send_to(datagram, address).map(drop))
}

/// Sends `stream` in RTP packets (RFC 3550, payload type 33 of RFC 3551).
///
/// # Errors
///
/// The socket fails.
pub fn rtp(address: SocketAddr, stream: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut sequence = u16::MAX - 3;
    paced(crate::ts::datagrams(stream), |payload| {
        let mut packet = vec![0x80, 33];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 0, 0xC0, 0xFF, 0xEE, 0]);
        packet.extend_from_slice(payload);
        sequence = sequence.wrapping_add(1);
        socket.send_to(&packet, address).map(drop)
    })
}

/// How a server gives its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// As a live stream: no length, at its own rate, until it ends the connection.
    Live,
    /// As a file: with its length, as fast as it is taken.
    File,
}

/// Takes a connection and reads the head of its request.
///
/// # Errors
///
/// The connection breaks.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, String)> {
    let (connection, _) = listener.accept()?;
    connection.set_read_timeout(Some(http::TIMEOUT))?;
    connection.set_write_timeout(Some(http::TIMEOUT))?;
    let mut request = String::new();
    let mut reader = BufReader::new(connection.try_clone()?);
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    Ok((connection, request))
}

/// A server with one stream for one request. Gives its address, and a thread that ends when the stream was sent, with the
/// request's head.
///
/// # Errors
///
/// No port can be had.
pub fn serve(stream: Vec<u8>, serving: Serving) -> io::Result<(SocketAddr, JoinHandle<io::Result<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        let (mut connection, request) = accept(&listener)?;
        let length = match serving {
            Serving::Live => String::new(),
            Serving::File => format!("Content-Length: {}\r\n", stream.len()),
        };
        write!(connection, "HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n{length}\r\n")?;
        match serving {
            Serving::Live => paced(stream.chunks(2_048), |block| connection.write_all(block))?,
            Serving::File => connection.write_all(&stream)?,
        }
        Ok(request)
    });
    Ok((address, server))
}
