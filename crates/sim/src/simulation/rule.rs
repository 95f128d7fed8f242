//! What must hold, by name: what a failure says was broken.

use std::fmt;

/// A rule of the simulation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// An answer is what the model says, at the position where the model is.
    Answer,
    /// A view shows what the model shows.
    View,
    /// Answers leave in the order of the requests.
    Order,
    /// Every request is answered, unless the server ends first.
    Silence,
    /// Nothing is refused for a fault that is not there.
    Refused,
    /// A shard stops only after a fault.
    Stop,
    /// What was answered is in the log after every start.
    Lost,
    /// The log holds what was decided, and no command by halves.
    Records,
    /// The server starts on whatever a crash left behind.
    Start,
    /// All records applied anew come to the same state.
    Replay,
    /// The state counts right: the core's own check, quotas first.
    Counts,
    /// What is due is ended, and the timer wakes in time for it.
    Due,
    /// The same command id leads to the same record, for whoever asks.
    Repeat,
    /// An order's code is given out once.
    Code,
    /// The clock neither jumps nor runs backwards.
    Clock,
    /// The secret behind the codes is one for all shards, and stays.
    Secret,
    /// Damage at rest stops the start, or costs nothing.
    Damage,
    /// Nothing fails in the upkeep without a fault, and it comes to an end.
    Upkeep,
    /// What is durable can be read, in the folder or in the archive.
    Readable,
    /// The audit of all records finds nothing.
    Audit,
    /// The code's own assertions.
    Panic,
}

/// A rule that was broken, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl Rule {
    /// It was broken: says how.
    #[must_use]
    pub fn broken(self, what: impl Into<String>) -> Broken {
        Broken { rule: self, what: what.into() }
    }

    /// What was noticed, in a few words.
    #[must_use]
    pub fn noticed(self) -> &'static str {
        match self {
            Rule::Answer => "an answer that is not the model's",
            Rule::View => "a view that is not the model's",
            Rule::Order => "an answer that overtakes another",
            Rule::Silence => "a request without an answer",
            Rule::Refused => "a refusal without a reason",
            Rule::Stop => "a shard that stops without a fault",
            Rule::Lost => "an acknowledged record is gone",
            Rule::Records => "the log does not hold what was decided",
            Rule::Start => "a start that fails",
            Rule::Replay => "a replay that comes to another state",
            Rule::Counts => "counts that do not add up",
            Rule::Due => "something due that is not ended",
            Rule::Repeat => "two outcomes for one command id",
            Rule::Code => "an order code that comes twice",
            Rule::Clock => "a clock that jumps",
            Rule::Secret => "another secret than before",
            Rule::Damage => "damage at rest that passes",
            Rule::Upkeep => "upkeep that fails without a fault",
            Rule::Readable => "a durable record that can't be read",
            Rule::Audit => "a finding of the audit",
            Rule::Panic => "a failed assertion in the code",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.noticed(), self.what)
    }
}
