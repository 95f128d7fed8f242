//! What becomes of an order by what the platform's API answers, from a socket that plays it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use super::*;

/// A platform of some answers, and what it was asked: `POST /path … {body}`.
struct Played {
    context: Context,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

/// Gives these answers in turn, each a status with headers, and the last again and again.
fn play(answers: &'static [&'static str], body: &'static str) -> Played {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (Vec::new(), 0);
            while let Some(Ok(line)) = stream.by_ref().lines().next().filter(is_more) {
                let line = line.to_lowercase();
                let given = line.strip_prefix("content-length: ").map(|text| text.parse().unwrap());
                length = given.unwrap_or(length);
                head.push(line);
            }
            let Some(request) = head.first() else { continue };
            let mut sent = vec![0; length];
            stream.read_exact(&mut sent).unwrap();
            let mut told = told.lock().unwrap();
            let answer = answers[told.len().min(answers.len() - 1)];
            told.push(format!("{request} {}", String::from_utf8(sent).unwrap()));
            drop(told);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(folder.path()).unwrap());
    // Nobody looks into its database; the engine is played, too.
    let mut context = context_at("none", &url, state);
    context.engine = Engine::new(&url, "none").unwrap();
    Played { context, asked, _folder: folder }
}

fn is_more(line: &std::io::Result<String>) -> bool {
    line.as_ref().is_ok_and(|line| !line.is_empty())
}

impl Played {
    fn writer(&self) -> Writer {
        Writer::open(&self.context).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_now_is_sent_again_as_it_is() {
    let played = play(&["503 X", "500 X", "429 X\r\nRetry-After: 2", "201 X"], "{}");
    let begin = Instant::now();
    let written = played.writer().carry_out(&[placed(1, 7)]).await.unwrap();
    assert_eq!((written.orders, written.parked), (1, Vec::new()));
    let asked = played.asked();
    assert_eq!(asked, vec![asked[0].clone(); 4]);
    assert!(asked[0].contains(&format!("\"code\":\"{}\"", code(1))), "{asked:?}");
    // Without what the last one says it would be less.
    assert!(begin.elapsed() >= Duration::from_millis(2_400), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_stays_where_it_is_until_there_is_an_answer() {
    let played = play(&["503 X\r\nRetry-After: 0"], "{}");
    let (writer, to) = (played.writer(), Place { generation: Generation(1), position: 1 });
    let error = writer.write(0, to, &[placed(1, 7)]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(writer.place(0).unwrap(), None);
    assert_eq!(played.context.state.parked().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_set_aside_with_its_reason() {
    let played = play(&["400 X"], r#"{"detail": "the product is not active"}"#);
    let (writer, to) = (played.writer(), Place { generation: Generation(1), position: 1 });
    let written = writer.write(0, to, &[placed(1, 7)]).await.unwrap();
    assert_eq!((written.orders, writer.place(0).unwrap()), (0, Some(to)));
    let parked = played.context.state.parked().unwrap();
    assert_eq!((parked.len(), parked[0].about.as_str()), (1, code(1).as_str()));
    assert!(parked[0].reason.contains("the product is not active"), "{parked:?}");
}

/// pretix finds the code free and the secrets used where an earlier request comes through in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_came_in_between_is_looked_at() {
    let body = r#"{"positions": [{"secret": "T0001K0"}, {"secret": "T0001K1"}, {"secret": "T0001K2"}],
        "code": "EXXXXAAAB", "status": "p", "total": "75.00",
        "detail": "You cannot assign a position secret that already exists."}"#;
    let played = play(&["400 X", "200 X", "400 X", "200 X"], body);
    let written = played.writer().carry_out(&[placed(1, 7)]).await.unwrap();
    assert_eq!((written.orders, written.parked), (1, Vec::new()));
    let asked = played.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].starts_with("get ") && asked[1].contains("/orders/exxxxaaab/"), "{asked:?}");
    // Another order's are told.
    let written = played.writer().carry_out(&[placed(2, 7)]).await.unwrap();
    assert!(written.parked[0].1.contains("it is there, and differs: /code"), "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_asked_what_was_placed_in_an_earlier_record() {
    let view = r#"{"customer": "c-9", "total": {"amount": 1337, "currency": "EUR"},
        "lines": [{"ticket_type": "7", "quantity": 1, "unit_price": 1337}]}"#;
    let played = play(&["200 X", "201 X"], view);
    let data = json!({
        "order": code(1), "state": "applied", "provider": "p", "reference": "r", "amount": 1337,
        "paid_at": "2027-01-01T00:00:00Z", "tickets": [{"code": "T1", "ticket_type": "7"}],
    });
    let mut paid = record(1, code(1), "placed", data);
    paid.kind = "onsale.payment.recorded.v1".to_owned();
    let written = played.writer().carry_out(&[paid]).await.unwrap();
    assert_eq!((written.orders, written.parked), (1, Vec::new()));
    let asked = played.asked();
    let place = asked[1].split_once('{').unwrap().1;
    assert!(place.contains(r#""price":"13.37""#) && place.contains("to c-9"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_order_is_left_out() {
    let played = play(&["201 X"], "{}");
    let mut odd = placed(1, 7);
    odd.data["tickets"] = json!("T1");
    let written = played.writer().carry_out(&[odd, placed(2, 7)]).await.unwrap();
    assert_eq!((written.orders, written.parked[0].0.as_str()), (1, code(1).as_str()));
    let asked = played.asked();
    assert!(asked.len() == 1 && asked[0].contains(&code(2)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_made_what_it_came_to() {
    let played = play(&["201 X", "200 X"], "{}");
    // Cancelled before it was ever there.
    let written = played.writer().carry_out(&[placed(1, 7), cancelled(1)]).await.unwrap();
    assert_eq!((written.orders, played.asked()), (1, Vec::new()));
    for record in [placed(2, 7), cancelled(2)] {
        played.writer().carry_out(&[record]).await.unwrap();
    }
    let asked = played.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains("/orders/ http/1.1 {"), "{asked:?}");
    let cancel = format!("/orders/{}/mark_canceled/", code(2)).to_lowercase();
    assert!(asked[1].contains(&cancel), "{asked:?}");
}
