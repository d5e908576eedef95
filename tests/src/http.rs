//! The least HTTP/1.1 client that shows what is on the wire: a request as bytes, the head taken apart, the body decoded as it
//! comes. Follows nothing, retries nothing, hides nothing.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer takes longer; a player waits ten seconds for a stream to begin.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A response: its head, and a body still to be read.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Fields in the order of the wire, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// A body, by the framing that its head tells.
#[derive(Debug)]
pub struct Body {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// Bytes left in this chunk; a new one begins when there are none.
    Chunked(u64),
    /// Bytes left of the body.
    Length(u64),
    ToEnd,
    Done,
}

impl Response {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The whole body as text.
    ///
    /// # Errors
    ///
    /// The connection broke, or the body is no text.
    pub fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Connects with timeouts in both directions.
///
/// # Errors
///
/// As [`TcpStream::connect_timeout`].
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for `path`.
///
/// # Errors
///
/// The connection fails, or the answer is no HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    response(stream)
}

/// The JSON object at `path`.
///
/// # Errors
///
/// As [`get`], and an answer that is no JSON.
pub fn get_json(address: SocketAddr, path: &str) -> io::Result<serde_json::Value> {
    serde_json::from_str(&get(address, path)?.text()?).map_err(io::Error::other)
}

/// Reads the head of a response from `stream`.
///
/// # Errors
///
/// The connection breaks, or brings no HTTP.
pub fn response(stream: TcpStream) -> io::Result<Response> {
    let mut stream = BufReader::new(stream);
    let status_line = line(&mut stream)?;
    let no_http = || io::Error::other(format!("no status line: {status_line:?}"));
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(no_http)?;
    let mut fields = Vec::new();
    loop {
        let line = line(&mut stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| io::Error::other(format!("no field: {line:?}")))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let framing = match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), _) => Framing::Chunked(0),
        (_, Some(length)) => Framing::Length(length.parse().map_err(io::Error::other)?),
        (_, None) => Framing::ToEnd,
    };
    Ok(Response { status, fields, body: Body { stream, framing } })
}

impl Body {
    /// The connection, to hang up from another thread.
    ///
    /// # Errors
    ///
    /// The system is out of descriptors.
    pub fn connection(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the body");
        if matches!(self.framing, Framing::Chunked(0)) {
            let size = line(&mut self.stream)?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
            match size.map_err(io::Error::other)? {
                0 => {
                    while !line(&mut self.stream)?.is_empty() {}
                    self.framing = Framing::Done;
                }
                size => self.framing = Framing::Chunked(size),
            }
        }
        let left = match self.framing {
            Framing::Done | Framing::Length(0) => return Ok(0),
            Framing::Chunked(left) | Framing::Length(left) => left,
            Framing::ToEnd => u64::MAX,
        };
        let room = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.stream.read(&mut out[..room])?;
        let count = u64::try_from(read).expect("a count of bytes");
        match &mut self.framing {
            Framing::ToEnd | Framing::Done => {}
            Framing::Length(_) | Framing::Chunked(_) if read == 0 && room > 0 => return Err(broken()),
            Framing::Length(left) => *left -= count,
            Framing::Chunked(left) => {
                *left -= count;
                if *left == 0 && !line(&mut self.stream)?.is_empty() {
                    return Err(io::Error::other("a chunk has no end"));
                }
            }
        }
        Ok(read)
    }
}

/// A line without its end; an error when the connection ends first.
fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within the framing"));
    }
    Ok(line.trim_end().to_owned())
}
