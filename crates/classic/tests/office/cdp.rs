//! Drives Debian's chromium over the two pipes of its DevTools protocol: a few calls, for what a person does.
//!
//! The crates for this bring tens of thousands of generated lines or a second program; these tests need to go
//! somewhere, to click, to type, and to look.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything takes, on a busy machine, too.
const WAIT: Duration = Duration::from_secs(60);

const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--lang=en",
];

pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    /// Pages that were loaded since the last look.
    loads: u64,
    _folder: TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (to, from) = (pipe("to"), pipe("from"));
        // It ends with the test, however that ends, and with all its processes.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "sh",
            "-c",
            "exec chromium \"$@\" 3<\"$TO\" 4>\"$FROM\"",
            "sh",
        ]);
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        command.env("TO", &to).env("FROM", &from).env("HOME", folder.path()).process_group(0);
        let log = File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok(), "chromium is missing: `cargo xtask test` installs it");
        let child = command.spawn().unwrap();
        let to = File::options().write(true).open(to).unwrap();
        let from = messages(File::open(from).unwrap());
        let mut browser =
            Browser { child, to, from, session: None, calls: 0, loads: 0, _folder: folder };
        let target =
            browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"]
                .clone();
        let session =
            browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.call("Page.enable", json!({}));
        browser
    }

    /// Calls a method and waits for its answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.next(method);
            if answer["id"] == self.calls {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].take();
            }
        }
    }

    fn next(&mut self, what: &str) -> Value {
        let message = self.from.recv_timeout(WAIT).unwrap_or_else(|e| panic!("{what}: {e}"));
        if message["method"] == "Page.loadEventFired" {
            self.loads += 1;
        }
        message
    }

    fn wait_for_page(&mut self, what: &str) {
        while self.loads == 0 {
            self.next(what);
        }
        self.loads = 0;
    }

    /// Goes to an address.
    pub fn go(&mut self, url: &str) {
        self.loads = 0;
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(gone["errorText"], Value::Null, "{url}");
        self.wait_for_page(url);
    }

    /// The value of an expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        let found = self
            .call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert_eq!(found["exceptionDetails"], Value::Null, "{expression}");
        found["result"]["value"].clone()
    }

    /// All text that can be seen.
    pub fn text(&mut self) -> String {
        self.eval("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Where the browser is, without the host.
    pub fn path(&mut self) -> String {
        self.eval("location.pathname + location.search").as_str().unwrap().to_owned()
    }

    /// Clicks in the middle of what a selector finds, as a mouse does.
    pub fn click(&mut self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const found = document.querySelector({selector:?}); if (!found) return null; \
             found.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const at = found.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; }})()"
        ));
        assert!(place.is_array(), "there is no {selector}: {}", self.text());
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Clicks, and waits for the page that comes of it.
    pub fn follow(&mut self, selector: &str) {
        self.loads = 0;
        self.click(selector);
        self.wait_for_page(selector);
    }

    /// Types into a field, over what it holds.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.click(selector);
        self.eval(&format!("document.querySelector({selector:?}).select()"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Presses Enter, and waits for the page that comes of it.
    pub fn enter(&mut self) {
        self.loads = 0;
        self.press("Enter", 13, "\r");
        self.wait_for_page("Enter");
    }

    /// Looks through a screen of a width, light or dark.
    pub fn screen(&mut self, width: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Keeps a picture of the page in a folder.
    pub fn picture(&mut self, file: &Path) {
        let taken = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        std::fs::write(file, decoded(taken["data"].as_str().unwrap())).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The whole group: a browser is many processes.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// Reads messages, each ended by a zero, on a thread of its own.
fn messages(pipe: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let parts = BufReader::new(pipe).split(0);
        for part in parts.map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&part) else { return };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Reads base64.
fn decoded(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().take_while(|byte| *byte != b'=').map(value).collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let word = four
            .iter()
            .enumerate()
            .fold(0_u32, |word, (at, digit)| word | u32::from(*digit) << (18 - 6 * at));
        word.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}
