//! Answers in all their forms, good and broken, from a socket that plays the server.

use std::net::TcpListener;

use super::*;

/// Answers one request with these bytes; returns what the client made of them,
/// and the request.
fn exchange(answer: &[u8]) -> (Result<Response, Error>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"{}") {
                let mut some = [0; 1024];
                let n = stream.read(&mut some).unwrap();
                assert_ne!(n, 0, "the request broke off: {seen:?}");
                seen.extend_from_slice(&some[..n]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(seen).unwrap()
        });
        let client = Client::new(&url, Some("secret")).unwrap();
        let response = client.request("PUT", "/v1/x", &[("If-Match", "*")], Some("{}"));
        (response, server.join().unwrap())
    })
}

#[test]
fn a_request_carries_key_headers_and_body() {
    let (response, request) = exchange(b"HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(response.unwrap().status, 204);
    let (host, rest) = request.split_once("Host: ").unwrap();
    assert_eq!(host, "PUT /base/v1/x HTTP/1.1\r\n");
    let (_, rest) = rest.split_once("\r\n").unwrap();
    assert_eq!(
        rest,
        "Connection: close\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nIf-Match: *\r\n\r\n{}"
    );
}

#[test]
fn a_body_is_what_a_header_says() {
    let client = Client::new("http://x", None).unwrap();
    let head = client.head("POST", "/", &[("content-type", "text/plain")], Some("{}"));
    assert_eq!(head.to_lowercase().matches("content-type: ").count(), 1, "{head}");
    assert!(head.contains("content-type: text/plain\r\n"), "{head}");
}

#[test]
fn bodies_come_in_three_forms() {
    let rows: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellomore", "hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n", "hello"),
        (b"HTTP/1.0 200 OK\n\nhello", "hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
    ];
    for (answer, expected) in rows {
        let response = exchange(answer).0.unwrap();
        assert_eq!(String::from_utf8(response.body).unwrap(), expected);
    }
}

#[test]
fn broken_answers_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    let rows: [(&[u8], &str); 10] = [
        (b"", "the answer breaks off"),
        (b"SSH-2.0\r\n", "the answer is not an HTTP answer"),
        (b"HTTP/1.1 999 X\r\n\r\n", "the answer is not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", "the answer has a broken header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "the answer has a broken Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "the answer is too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "unexpected end of file"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "the answer has a broken chunk",
        ),
        (long.as_bytes(), "the answer breaks off"),
        (many.as_bytes(), "the answer has too many headers"),
    ];
    for (answer, expected) in rows {
        let error = exchange(answer).0.unwrap_err().to_string();
        let (_, detail) = error.split_once(": ").unwrap();
        assert_eq!(detail, expected);
    }
}

#[test]
fn a_server_that_is_silent_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Client::new(&format!("http://{address}"), None).unwrap();
    client.timeout = Duration::from_millis(50);
    let error = client.request("GET", "/", &[], None).unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: no answer within 50ms"));
    drop(listener);
    let error = client.request("GET", "/", &[], None).unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[test]
fn urls_are_checked() {
    let rows = [
        ("ftp://a", "must begin with http:// or https://"),
        ("localhost:1", "must begin with http:// or https://"),
        ("http://", "has no host"),
        ("http://:80", "has no host"),
        ("http://a b", "must be http[s]://host:port, without user, query or spaces"),
        ("http://u@a", "must be http[s]://host:port, without user, query or spaces"),
        ("http://a?b", "must be http[s]://host:port, without user, query or spaces"),
    ];
    for (url, expected) in rows {
        assert_eq!(Client::new(url, None).unwrap_err().to_string(), format!("{url}: {expected}"));
    }
    assert!(Client::new("http://a", Some("a\nb")).is_err());
    let rows = [
        ("http://a", "a:80", ""),
        ("http://a:81/b/", "a:81", "/b"),
        ("http://[::1]", "[::1]:80", ""),
        ("http://[::1]:8", "[::1]:8", ""),
        ("https://a/b", "a:443", "/b"),
    ];
    for (url, server, prefix) in rows {
        let client = Client::new(url, None).unwrap();
        assert_eq!((client.server.as_str(), client.prefix.as_str()), (server, prefix));
    }
}

#[test]
fn problems_are_told_in_a_line() {
    let problem =
        |body: &str| Response { status: 422, headers: Vec::new(), body: body.into() }.problem();
    assert_eq!(problem(r#"{"title": "T", "detail": "D"}"#), "422 D");
    assert_eq!(problem(r#"{"title": "T"}"#), "422 T");
    assert_eq!(problem("gone"), "422 gone");
    assert_eq!(problem(""), "422");
}
