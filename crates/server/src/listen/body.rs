//! A request's body. Where HTTP/2 brings it, what nobody read is still taken for a while: if the stream were closed at
//! once, many a client would take that for the answer, and never show the one that says what was wrong.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::{Request, Version};
use tokio::runtime::Handle;

/// How much of a body that nobody wants is taken, beyond what is on its way already.
const UNWANTED_BYTES_MAX: usize = 1 << 20;
/// For how long.
const UNWANTED_TIME: Duration = Duration::from_secs(5);

/// A request's body.
pub struct Body {
    /// None once it is dropped.
    incoming: Option<Incoming>,
    /// Whether the rest is taken when it is dropped.
    takes_rest: bool,
}

impl Body {
    /// The body of a request.
    pub fn of(request: Request<Incoming>) -> Request<Body> {
        let takes_rest = request.version() == Version::HTTP_2;
        request.map(|incoming| Body { incoming: Some(incoming), takes_rest })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.takes_rest || self.is_end_stream() {
            return;
        }
        // Without a runtime the connection is gone, too.
        if let (Some(rest), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(UNWANTED_TIME, take(rest)));
        }
    }
}

async fn take(mut rest: Incoming) {
    let mut left = UNWANTED_BYTES_MAX;
    while let Some(Ok(frame)) = rest.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}
