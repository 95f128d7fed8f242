//! Sends one delivery: a POST over HTTP/1.1, with or without TLS, on a connection that is kept for the next
//! one. Nothing is followed, little is read, and everything has a limit.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::address::{Policy, Target};
use super::sign;

/// Media type of an event in structured mode.
const MEDIA_TYPE: &str = "application/cloudevents+json";
/// Of an answer's body, what is read: for the message, and so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of an answer's body that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// What a receiver said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Its status.
    pub status: u16,
    /// The begin of its body.
    pub text: String,
    /// After how many seconds it wants to be asked again.
    pub retry_after_s: Option<u64>,
}

/// A delivery as it is sent.
pub struct Delivery<'a> {
    /// The webhook's name, for the receiver.
    pub webhook: &'a str,
    /// The record's id.
    pub id: &'a str,
    /// With which it is signed.
    pub secret: &'a str,
    /// When, in seconds since 1970.
    pub seconds: i64,
    /// The record.
    pub body: Bytes,
}

/// A connection to a receiver, if there is one.
#[derive(Default)]
pub struct Connection(Option<SendRequest<Full<Bytes>>>);

impl Connection {
    /// Sends a delivery and waits for what is said. Without an answer the connection is given up.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(
        &mut self,
        target: &Target,
        policy: Policy,
        delivery: &Delivery<'_>,
    ) -> Result<Said, String> {
        // It may have been closed since it was used last; then another one is made.
        let mut kept = self.0.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(target, policy).await?,
        };
        let request = request(target, delivery)?;
        let response = sender.send_request(request).await.map_err(|e| chain(&e))?;
        let (said, whole) = said(response).await;
        if whole && !sender.is_closed() {
            self.0 = Some(sender);
        }
        Ok(said)
    }
}

fn request(target: &Target, delivery: &Delivery<'_>) -> Result<Request<Full<Bytes>>, String> {
    let Delivery { webhook, id, secret, seconds, body } = delivery;
    let signature = sign::sign(secret, *seconds, body);
    let built = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(USER_AGENT, concat!("onsale/", env!("CARGO_PKG_VERSION")))
        .header(HeaderName::from_static(sign::HEADER), signature)
        .header("onsale-webhook", *webhook)
        .header("onsale-id", *id)
        .body(Full::new(body.clone()));
    built.map_err(|error| error.to_string())
}

/// Reads an answer, and whether it was read to its end.
async fn said(response: Response<Incoming>) -> (Said, bool) {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).map(HeaderValue::to_str);
    let retry_after_s = after.and_then(|value| value.ok()?.trim().parse().ok());
    let mut body = response.into_body();
    let (mut text, mut bytes, mut whole) = (Vec::new(), 0, true);
    while let Some(frame) = body.frame().await {
        let Ok(Ok(data)) = frame.map(hyper::body::Frame::into_data) else {
            whole = false;
            break;
        };
        bytes += data.len();
        if text.len() < 4 * SHOWN_CHARS_MAX {
            text.extend_from_slice(&data);
        }
        if bytes > ANSWER_BYTES_MAX {
            whole = false;
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
    (Said { status, text, retry_after_s }, whole)
}

async fn connect(target: &Target, policy: Policy) -> Result<SendRequest<Full<Bytes>>, String> {
    let addresses = target.resolve(policy).await?;
    let stream = TcpStream::connect(&addresses[..]).await;
    let stream = stream.map_err(|error| format!("{}: {error}", target.authority))?;
    // One small request at a time: nothing to gather.
    let _ = stream.set_nodelay(true);
    if !target.secure {
        return talk(stream).await;
    }
    let stream = onsale_tls::connect(&target.host, stream).await;
    talk(stream.map_err(|error| format!("{}: {error}", target.authority))?).await
}

async fn talk<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| chain(&e))?;
    // It ends with the sender. What goes wrong is told to whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
