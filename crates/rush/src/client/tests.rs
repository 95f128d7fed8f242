//! Answers whole, in pieces and broken, against a server that sends given bytes.

use super::*;
use tokio::net::TcpListener;

const MAX: usize = 4_096;

/// What came of an exchange: status, whether the connection is kept, body.
type Outcome = Result<(u16, bool, String), String>;

/// Sends `pieces` as the answer, one write each, then closes.
async fn answer_with(pieces: Vec<Vec<u8>>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 4];
        stream.read_exact(&mut request).await.unwrap();
        for piece in pieces {
            stream.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let client = async {
        let mut connection = Connection::open(address).await.unwrap();
        connection.exchange(b"ask\n", MAX).await.map_err(|e| e.kind().to_owned())?;
        let answer = connection.answer();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        Ok((answer.status, answer.keep, body))
    };
    tokio::join!(server, client).1
}

async fn check(answer: &str, expected: Outcome) {
    assert_eq!(answer_with(vec![answer.into()]).await, expected, "{answer:?}");
}

fn good(status: u16, keep: bool, body: &str) -> Outcome {
    Ok((status, keep, body.to_owned()))
}

fn bad(kind: &str) -> Outcome {
    Err(kind.to_owned())
}

#[tokio::test]
async fn answers_are_read() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", good(200, true, "hi")),
        ("HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n", good(201, true, "")),
        ("HTTP/1.1 409\r\nCONTENT-LENGTH: 1\r\nX: y\r\n\r\nx", good(409, true, "x")),
        ("HTTP/1.1 204 None\r\nX-A: b\r\n\r\n", good(204, true, "")),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
            good(200, false, "x"),
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", good(200, false, "x")),
        ("HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end", good(200, false, "to the end")),
        // More than was announced: the rest answers nothing of ours.
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz", good(200, false, "x")),
        ("", bad("closed")),
        ("HTTP/1.1 200 OK\r\nContent-", bad("cut")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", bad("cut")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\nhi", bad("too-large")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\nhi", bad("too-large")),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", bad("malformed")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", bad("malformed")),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", bad("malformed")),
        ("HTTP/2 200\r\n\r\n", bad("malformed")),
        ("HTTP/1.1 2x0 OK\r\n\r\n", bad("malformed")),
        ("HTTP/1.1 100 Continue\r\n\r\n", bad("malformed")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            bad("transfer-encoding"),
        ),
    ] {
        check(answer, expected).await;
    }
}

#[tokio::test]
async fn an_answer_may_be_split_anywhere() {
    let answer = b"HTTP/1.1 200 OK\r\nRetry-After: 3\r\nContent-Length: 5\r\n\r\nhello";
    for cut in 1..answer.len() {
        let pieces = vec![answer[..cut].to_vec(), answer[cut..].to_vec()];
        assert_eq!(answer_with(pieces).await, good(200, true, "hello"), "cut at {cut}");
        let bytes = answer_with(vec![answer[..cut].to_vec()]).await;
        assert_eq!(bytes, bad("cut"), "ends at {cut}");
    }
    let bytes = answer.iter().map(|&b| vec![b]).collect();
    assert_eq!(answer_with(bytes).await, good(200, true, "hello"), "byte by byte");
}

#[tokio::test]
async fn an_answer_larger_than_the_buffer_is_read_up_to_the_limit() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n";
    let body = "x".repeat(3_000);
    check(&format!("{head}{body}"), good(200, true, &body)).await;
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX));
    check(&endless, bad("too-large")).await;
    check(&"x".repeat(MAX + 1), bad("too-large")).await;
}

#[test]
fn retry_after_is_read_if_it_is_a_number() {
    let retry_after = |value: &str| {
        let text = format!("HTTP/1.1 503 x\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
        parse_head(text.as_bytes(), 0).unwrap().unwrap().retry_after_s
    };
    assert_eq!(retry_after("7"), Some(7));
    assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
}
