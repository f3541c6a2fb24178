//! A blocking HTTP/1.1 client over a Unix socket, just enough to ask a daemon and to measure it.
//!
//! One connection, kept alive; bodies by length, in chunks, or up to the end; upgraded streams. It is not the product's
//! client on purpose: what is tested and measured must not depend on what tests and measures.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any request should take.
const TIMEOUT: Duration = Duration::from_mins(3);

/// A connection to one daemon, opened again when the daemon closed it.
pub struct Client {
    socket: PathBuf,
    connection: Option<BufReader<UnixStream>>,
}

/// What came back.
#[derive(Debug)]
pub struct Response {
    /// The code of the status line.
    pub status: u16,
    /// All of it.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How a response's body ends.
enum Length {
    Known(u64),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    length: Length,
    keeps_alive: bool,
}

impl Client {
    /// A client that connects with its first request.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            connection: None,
        }
    }

    /// Sends a request with a JSON body or none, and takes every status as an answer.
    ///
    /// # Errors
    /// When the daemon cannot be reached or does not speak HTTP.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, String> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let length = Some(text.len() as u64);
        let mut answer = Vec::new();
        let status = self
            .exchange(
                method,
                path,
                "application/json",
                &mut text.as_bytes(),
                length,
                &mut answer,
            )
            .map_err(|e| format!("{method} {path}: {e}"))?;
        Ok(Response {
            status,
            body: answer,
        })
    }

    /// As [`Client::ask`], for requests that must succeed.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or answers with a status of 400 or more.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, String> {
        let response = self.ask(method, path, body)?;
        checked(method, path, response)
    }

    /// As [`Client::request`], with the answer read as JSON.
    ///
    /// # Errors
    /// As [`Client::request`], and when the answer is no JSON.
    pub fn json(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let response = self.request(method, path, body)?;
        serde_json::from_slice(&response.body)
            .map_err(|e| format!("{method} {path}: the answer is no JSON: {e}"))
    }

    /// Sends an archive as the body.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn upload(&mut self, path: &str, content: &mut impl Read) -> Result<Response, String> {
        let context = |e: io::Error| format!("POST {path}: {e}");
        let mut body = Vec::new();
        let status = self
            .exchange("POST", path, "application/x-tar", content, None, &mut body)
            .map_err(context)?;
        checked("POST", path, Response { status, body })
    }

    /// Writes the body of the answer into a sink.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn download(&mut self, path: &str, sink: &mut dyn Write) -> Result<(), String> {
        let context = |e: io::Error| format!("GET {path}: {e}");
        let status = self
            .exchange(
                "GET",
                path,
                "application/json",
                &mut io::empty(),
                Some(0),
                sink,
            )
            .map_err(context)?;
        if status < 400 {
            Ok(())
        } else {
            Err(format!("GET {path}: {status}"))
        }
    }

    /// Takes the connection over after `101 Switching Protocols`, or after 200 as older daemons say.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub fn hijack(&self, path: &str, body: &Value) -> Result<BufReader<UnixStream>, String> {
        let context = |e: io::Error| format!("POST {path}: {e}");
        let mut stream = connect(&self.socket).map_err(context)?;
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).map_err(context)?;
        let mut reader = BufReader::with_capacity(1 << 18, stream);
        let head = read_head(&mut reader).map_err(context)?;
        if head.status == 101 || head.status == 200 {
            Ok(reader)
        } else {
            Err(format!("POST {path}: {}", head.status))
        }
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &mut impl Read,
        length: Option<u64>,
        sink: &mut dyn Write,
    ) -> io::Result<u16> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::with_capacity(1 << 18, connect(&self.socket)?),
        };
        let framing = length.map_or_else(
            || "Transfer-Encoding: chunked".to_owned(),
            |n| format!("Content-Length: {n}"),
        );
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n"
        );
        let stream = connection.get_mut();
        if length.is_some() {
            let mut request = head.into_bytes();
            body.read_to_end(&mut request)?;
            stream.write_all(&request)?;
        } else {
            stream.write_all(head.as_bytes())?;
            write_chunks(stream, body)?;
        }
        let head = read_head(&mut connection)?;
        read_body(&mut connection, &head.length, sink)?;
        if head.keeps_alive && !matches!(head.length, Length::UntilClosed) {
            self.connection = Some(connection);
        }
        Ok(head.status)
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn checked(method: &str, path: &str, response: Response) -> Result<Response, String> {
    if response.status < 400 {
        return Ok(response);
    }
    Err(format!(
        "{method} {path}: {} {}",
        response.status,
        String::from_utf8_lossy(&response.body).trim()
    ))
}

fn write_chunks(stream: &mut UnixStream, body: &mut impl Read) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = body.read(&mut buffer)?;
        stream.write_all(format!("{n:x}\r\n").as_bytes())?;
        stream.write_all(&buffer[..n])?;
        stream.write_all(b"\r\n")?;
        if n == 0 {
            return Ok(());
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let invalid = |text: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not an HTTP answer: {text}"),
        )
    };
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| invalid(&line))?;
    let mut head = Head {
        status,
        length: Length::UntilClosed,
        keeps_alive: true,
    };
    if status == 204 || status == 304 {
        head.length = Length::Known(0);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(head);
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                head.length = Length::Known(value.parse().map_err(|_| invalid(&line))?);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                head.length = Length::Chunked;
            }
            "connection" if value.eq_ignore_ascii_case("close") => head.keeps_alive = false,
            _ => {}
        }
    }
}

fn read_body(reader: &mut impl BufRead, length: &Length, sink: &mut dyn Write) -> io::Result<()> {
    match length {
        Length::Known(n) => copy_exactly(reader, *n, sink),
        Length::UntilClosed => io::copy(reader, sink).map(drop),
        Length::Chunked => loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = line.trim_end().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a chunk's size"))?;
            copy_exactly(reader, size, sink)?;
            line.clear();
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

/// In the pieces that were received: what is measured is the daemon, not copying here.
fn copy_exactly(
    reader: &mut impl BufRead,
    mut length: u64,
    sink: &mut dyn Write,
) -> io::Result<()> {
    while length > 0 {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let step = usize::try_from(length).map_or(bytes.len(), |left| left.min(bytes.len()));
        sink.write_all(&bytes[..step])?;
        reader.consume(step);
        length -= step as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(answer: &str) -> Result<(u16, String), io::ErrorKind> {
        let mut reader = BufReader::new(answer.as_bytes());
        let mut body = Vec::new();
        let head = read_head(&mut reader).map_err(|e| e.kind())?;
        read_body(&mut reader, &head.length, &mut body).map_err(|e| e.kind())?;
        Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
    }

    #[test]
    fn bodies_end_where_their_head_says() {
        assert_eq!(
            body_of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK more"),
            Ok((200, "OK".into()))
        );
        assert_eq!(
            body_of("HTTP/1.1 204 No Content\r\n\r\nnext"),
            Ok((204, String::new()))
        );
        assert_eq!(
            body_of(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
            ),
            Ok((200, "abcd".into()))
        );
        assert_eq!(
            body_of("HTTP/1.0 200 OK\r\n\r\nall"),
            Ok((200, "all".into()))
        );
        assert_eq!(
            body_of("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK"),
            Err(io::ErrorKind::UnexpectedEof)
        );
        assert_eq!(body_of(""), Err(io::ErrorKind::UnexpectedEof));
    }
}
