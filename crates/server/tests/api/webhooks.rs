//! Webhooks against receivers of our own, which take, refuse, fail and hang; signatures are checked as
//! a receiver would.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use onsale::config::Config;
use onsale::keys::Scope;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Site, cart, concert, open, path};

const HOOKS: &str = "/v1/organizers/river/webhooks";

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u16),
    Redirects,
    Hangs,
    HangsUp,
}

/// What came to a receiver.
#[derive(Clone, Debug)]
struct Came {
    headers: Vec<(String, String)>,
    body: String,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        &found.unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A receiver: does what it is told for each request, and answers 204 to all others.
#[derive(Clone)]
struct Receiver {
    url: String,
    plan: Arc<Mutex<VecDeque<Does>>>,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Receiver {
    fn start(plan: &[Does]) -> Receiver {
        let first = 26_000 + (std::process::id() % 3_000) as u16;
        let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        let listener = (first..32_700).step_by(11).find_map(bind).unwrap();
        let receiver = Receiver {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            plan: Arc::new(Mutex::new(plan.iter().copied().collect())),
            came: Arc::default(),
        };
        let of_thread = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let receiver = of_thread.clone();
                std::thread::spawn(move || receiver.serve(stream.unwrap()));
            }
        });
        receiver
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(came) = read(&mut reader) {
            self.came.lock().unwrap().push(came);
            let does = self.plan.lock().unwrap().pop_front().unwrap_or(Does::Answers(204));
            let answer = match does {
                Does::Answers(status) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nsaid")
                }
                Does::Redirects => {
                    "HTTP/1.1 302 X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".into()
                }
                Does::HangsUp => return,
                Does::Hangs => {
                    // Until the sender gives up.
                    let _ = reader.read(&mut [0]);
                    return;
                }
            };
            let answer = answer.replace("204 X\r\ncontent-length: 4\r\n\r\nsaid", "204 X\r\n\r\n");
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Came> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let came = Came { headers, body: String::new() };
    let mut body = vec![0; came.header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(Came { body: String::from_utf8(body).unwrap(), ..came })
}

fn quick(config: &mut Config) {
    config.shards = 1;
    config.webhooks.backoff = Duration::from_millis(20);
    config.webhooks.timeout = Duration::from_millis(300);
}

fn site(change: impl FnOnce(&mut Config)) -> Site {
    let site = Site::with(|config| {
        quick(config);
        change(config);
    });
    open(&site, "concert", &concert());
    site
}

fn hook(site: &Site, receiver: &Receiver, types: &[&str]) -> String {
    let body = json!({"url": receiver.url, "types": types});
    let made = site.client().put(&format!("{HOOKS}/shop"), &body).expect(201).json();
    made["secret"].as_str().unwrap().to_owned()
}

fn hold(site: &Site, customer: &str) -> Value {
    site.client().post(&path("concert", "/holds"), &cart(customer, "free", 1)).expect(201).json()
}

fn failures(site: &Site) -> Value {
    site.client().get(&format!("{HOOKS}/shop/failures")).expect(200).json()
}

/// Checks a signature as the manual says.
fn verify(came: &Came, secret: &str) -> bool {
    let header = came.header("onsale-signature");
    let (time, hex) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 60, "{header}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{}", came.body).as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == hex
}

#[test]
fn what_happens_is_sent_signed_and_in_order() {
    let mut site = site(|_| {});
    let receiver = Receiver::start(&[]);
    let secret = hook(&site, &receiver, &["onsale.hold.placed.v1"]);
    let mut holds: Vec<Value> =
        (0..5).map(|i| hold(&site, &format!("c-{i}"))["id"].clone()).collect();
    site.until("five are there", || receiver.came().len() == 5);
    // What a receiver has may come again until the place behind it is kept.
    let lag = || site.client().get(&format!("{HOOKS}/shop")).json()["lag"].clone();
    site.until("its place is kept", || lag() == 0);
    // Where it was is on the disk: after a restart the next one is the sixth.
    site.restart();
    holds.push(hold(&site, "c-6")["id"].clone());
    site.until("six are there", || receiver.came().len() == 6);
    let came = receiver.came();
    let sent: Vec<Value> = came.iter().map(|came| came.json()["data"]["hold"].clone()).collect();
    assert_eq!(sent, holds);
    for came in &came {
        assert_eq!(came.header("content-type"), "application/cloudevents+json");
        assert_eq!(came.header("onsale-webhook"), "shop");
        assert_eq!(came.header("onsale-id"), came.json()["id"]);
        assert!(verify(came, &secret), "{came:?}");
        assert!(!verify(came, "whsec_0"));
    }
    // It is the same record that a reader sees.
    let records = site.client().get("/v1/streams/sales/records?shard=0").json();
    assert_eq!(records["records"].as_array().unwrap().last(), Some(&came[5].json()));
    let shown = site.client().get(&format!("{HOOKS}/shop")).expect(200).json();
    assert_eq!((&shown["delivered"], &shown["failed"]), (&json!(1), &json!(0)));
    assert!(shown.get("secret").is_none(), "it is shown once");
    let figures = site.client().get("/metrics").expect(200).text;
    for line in [
        "onsale_webhook_delivered_total{organizer=\"river\",webhook=\"shop\"} 1",
        "onsale_webhook_failing{organizer=\"river\",webhook=\"shop\"} 0",
    ] {
        assert!(figures.lines().any(|l| l == line), "no {line} in {figures}");
    }
}

#[test]
fn a_receiver_that_fails_gets_it_again_and_nothing_overtakes() {
    let site = site(|_| {});
    let plan =
        [Does::Answers(500), Does::Hangs, Does::HangsUp, Does::Redirects, Does::Answers(429)];
    let receiver = Receiver::start(&plan);
    hook(&site, &receiver, &["onsale.hold.placed.v1"]);
    let ids = [hold(&site, "c-1")["id"].clone(), hold(&site, "c-2")["id"].clone()];
    site.until("both were taken", || receiver.came().len() == 7);
    let sent: Vec<Value> =
        receiver.came().iter().map(|came| came.json()["data"]["hold"].clone()).collect();
    assert!(sent[..6].iter().all(|id| *id == ids[0]), "{sent:?}");
    assert_eq!(sent[6], ids[1]);
    site.until("it is counted", || {
        let shown = site.client().get(&format!("{HOOKS}/shop")).json();
        shown["delivered"] == 2 && shown["failed"] == 5 && shown["failing"] == 0
    });
    assert_eq!(failures(&site)["parked"], json!([]));
}

#[test]
fn what_is_never_taken_is_parked_and_can_be_tried_again() {
    let site = site(|config| config.webhooks.retry = Duration::from_millis(500));
    let receiver = Receiver::start(&[Does::Answers(503); 100]);
    hook(&site, &receiver, &["onsale.hold.placed.v1"]);
    let held = hold(&site, "c-1");
    site.until("it is failing", || failures(&site)["failing"][0]["reason"] == "503 said");
    site.until("it is parked", || failures(&site)["parked"][0]["reason"] == "503 said");
    let position = held["receipt"]["position"].as_u64().unwrap();
    let parked = failures(&site)["parked"][0].clone();
    assert_eq!((&parked["shard"], &parked["position"]), (&json!(0), &json!(position)));
    // Those after it go on, and it can be tried again.
    receiver.plan.lock().unwrap().clear();
    let next = hold(&site, "c-2")["id"].clone();
    let last = || receiver.came().last().unwrap().json()["data"]["hold"].clone();
    site.until("the next one is taken", || last() == next);
    let failure = format!("{HOOKS}/shop/failures/0/{position}");
    site.client().send("POST", &format!("{failure}/retry"), None).expect(202);
    site.until("it is taken", || last() == held["id"]);
    site.until("nothing is parked", || failures(&site)["parked"] == json!([]));
    let retry = site.client().send("POST", &format!("{failure}/retry"), None);
    assert_eq!(retry.expect(404).problem(), "unknown-parked-record");
}

#[test]
fn a_record_that_is_refused_as_such_does_not_hold_up_the_others() {
    let site = site(|_| {});
    let receiver = Receiver::start(&[Does::Answers(422); 5]);
    hook(&site, &receiver, &["onsale.hold.placed.v1"]);
    let held = hold(&site, "c-1");
    let next = hold(&site, "c-2");
    site.until("the second is taken", || receiver.came().len() == 6);
    assert_eq!(receiver.came()[5].json()["data"]["hold"], next["id"]);
    let parked = failures(&site)["parked"][0].clone();
    assert_eq!(
        (&parked["position"], &parked["reason"]),
        (&held["receipt"]["position"], &json!("422 said"))
    );
    let failure = format!("{HOOKS}/shop/failures/0/{}", parked["position"]);
    site.client().send("DELETE", &failure, None).expect(200);
    assert_eq!(failures(&site)["parked"], json!([]));
}

#[test]
fn only_its_organizer_s_records_are_sent_and_only_from_now_on() {
    let site = site(|_| {});
    hold(&site, "before");
    let receiver = Receiver::start(&[]);
    hook(&site, &receiver, &[]);
    site.client().put("/v1/organizers/lake/events/e", &concert()).expect(201);
    let held = hold(&site, "after");
    site.until("one is there", || !receiver.came().is_empty());
    assert_eq!(receiver.came()[0].json()["data"]["hold"], held["id"]);
    // Taken away, it is sent nothing more.
    site.client().send("DELETE", &format!("{HOOKS}/shop"), None).expect(200);
    let other = Receiver::start(&[]);
    hook(&site, &other, &[]);
    let last = hold(&site, "last");
    site.until("the other has it", || !other.came().is_empty());
    assert_eq!(other.came()[0].json()["data"]["hold"], last["id"]);
    assert_eq!(receiver.came().len(), 1);
}

#[test]
fn webhooks_have_rules() {
    let site = site(|config| config.webhooks.per_organizer = 1);
    let client = site.client();
    let put = |name: &str, body: Value| client.put(&format!("{HOOKS}/{name}"), &body);
    let url = "https://shop.example.org/hook";
    let twice = ["onsale.hold.placed.v1", "onsale.hold.placed.v1"];
    let rows = [
        ("X", json!({"url": url}), 400, "invalid-id"),
        ("a", json!({}), 400, "missing-field"),
        ("a", json!({"url": "ftp://x/"}), 422, "invalid-url"),
        ("a", json!({"url": "http://shop.example.org/"}), 422, "invalid-url"),
        ("a", json!({"url": "http://169.254.169.254/latest"}), 422, "invalid-url"),
        ("a", json!({"url": "https://169.254.169.254/latest"}), 422, "invalid-url"),
        ("a", json!({"url": "https://shop.example.org:99999/hook"}), 422, "invalid-url"),
        ("a", json!({"url": "https://shop.example.org:0/hook"}), 422, "invalid-url"),
        ("a", json!({"url": "https://u:p@x/"}), 422, "invalid-url"),
        ("a", json!({"url": url, "types": ["x"]}), 422, "unknown-record-type"),
        ("a", json!({"url": url, "types": twice}), 422, "duplicate-id"),
    ];
    for (name, body, status, problem) in rows {
        assert_eq!(put(name, body.clone()).expect(status).problem(), problem, "{name} {body}");
    }
    let made = put("a", json!({"url": url})).expect(201).json();
    let changed = put("a", json!({"url": url, "new_secret": true})).expect(200).json();
    assert_ne!(made["secret"], changed["secret"]);
    assert_eq!(put("b", json!({"url": url})).expect(422).problem(), "too-many-webhooks");
    let list = client.get(HOOKS).expect(200).json();
    assert_eq!(list["webhooks"][0]["name"], "a");
    assert!(!list.to_string().contains("whsec_"));
    assert_eq!(client.get(&format!("{HOOKS}/b")).expect(404).problem(), "unknown-webhook");
    let reader = site.as_key(&site.key(&[Scope::Read], None));
    assert_eq!(reader.get(HOOKS).expect(403).problem(), "scope-missing");
    let mode = std::fs::metadata(site.folder.path().join("webhooks.json")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

/// Three days are three days, however often the server starts in between.
#[test]
fn a_restart_does_not_give_a_record_its_time_anew() {
    let mut site = site(|_| {});
    let receiver = Receiver::start(&[Does::Answers(500); 10_000]);
    hook(&site, &receiver, &[]);
    hold(&site, "c-1");
    let since = |site: &Site| failures(site)["failing"][0]["since"].clone();
    site.until("it fails", || !since(&site).is_null());
    let before = since(&site);
    site.restart();
    site.until("it fails again", || !since(&site).is_null());
    assert_eq!(since(&site), before);
    // A webhook that is put there again has it anew, since it may lead elsewhere.
    let body = json!({"url": receiver.url});
    site.client().put(&format!("{HOOKS}/shop"), &body).expect(200);
    site.until("it fails from now on", || !since(&site).is_null() && since(&site) != before);
}

#[test]
fn a_receiver_that_is_gone_is_left_alone_until_the_webhook_is_put_there_again() {
    let mut site = site(|_| {});
    let receiver = Receiver::start(&[Does::Answers(410)]);
    hook(&site, &receiver, &["onsale.hold.placed.v1"]);
    let hook_now = |site: &Site| site.client().get(&format!("{HOOKS}/shop")).expect(200).json();
    assert!(hook_now(&site).get("gone_at").is_none());
    hold(&site, "c-1");
    site.until("it is noted", || hook_now(&site).get("gone_at").is_some());
    hold(&site, "c-2");
    site.restart();
    assert!(hook_now(&site)["gone_at"].is_string());
    assert!(
        site.client()
            .get("/metrics")
            .text
            .contains("onsale_webhook_gone{organizer=\"river\",webhook=\"shop\"} 1")
    );
    assert_eq!(receiver.came().len(), 1, "nothing is sent any more");
    let body = json!({"url": receiver.url, "types": ["onsale.hold.placed.v1"]});
    let put = site.client().put(&format!("{HOOKS}/shop"), &body).expect(200).json();
    assert!(put.get("gone_at").is_none(), "{put}");
    site.until("both come", || receiver.came().len() == 3);
    let customers: Vec<Value> =
        receiver.came().iter().map(|came| came.json()["data"]["customer"].clone()).collect();
    assert_eq!(customers, ["c-1", "c-1", "c-2"]);
}
