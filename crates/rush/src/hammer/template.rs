//! A request that is made once and sent often: only its numbers change.

/// What stands in a template where a number goes: 16 hexadecimal digits.
const MARK: &[u8; 16] = b"################";

/// A request with places for numbers. Each run of 16 `#` becomes 16 hexadecimal digits; a
/// number goes into `marks_per_command` marks in a row, and then comes the next.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    marks: Vec<usize>,
    marks_per_command: usize,
}

impl Template {
    /// A template of these bytes, of which each command has so many marks.
    ///
    /// # Panics
    /// If the marks can't be shared out among commands, or there is none.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>, marks_per_command: usize) -> Template {
        let bytes = bytes.into();
        let marks: Vec<usize> = memchr::memmem::find_iter(&bytes, MARK).collect();
        let shared = marks_per_command > 0 && marks.len().is_multiple_of(marks_per_command);
        assert!(shared && !marks.is_empty(), "{} marks for {marks_per_command} each", marks.len());
        Template { bytes, marks, marks_per_command }
    }

    /// A POST of JSON over a connection that stays open. `headers` end in a line break each.
    #[must_use]
    pub fn post(path: &str, headers: &str, body: &str, marks_per_command: usize) -> Template {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {length}\r\n\r\n{body}"
        );
        Template::new(request, marks_per_command)
    }

    /// Commands in one request.
    #[must_use]
    pub fn commands(&self) -> u64 {
        (self.marks.len() / self.marks_per_command) as u64
    }

    /// The request whose first command has this number.
    pub fn fill(&mut self, first: u64) -> &[u8] {
        for (number, marks) in (first..).zip(self.marks.chunks(self.marks_per_command)) {
            let digits = digits(spread(number));
            for &mark in marks {
                self.bytes[mark..mark + digits.len()].copy_from_slice(&digits);
            }
        }
        &self.bytes
    }
}

/// Another number for each number, without an order that a table could profit from.
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn digits(number: u64) -> [u8; 16] {
    std::array::from_fn(|index| b"0123456789abcdef"[(number >> (60 - 4 * index)) as usize & 15])
}
