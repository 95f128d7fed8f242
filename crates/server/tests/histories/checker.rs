//! Whether a history is linearizable: whether its operations could have happened one at a
//! time, each at a moment between its call and its answer, as the rules say.
//!
//! It is the search of Wing and Gong with the memory of Lowe: at each step any operation
//! may come next that was called before the first answer among those that are left; a set
//! of operations that has led to a state before is not tried again. An operation without
//! an answer may have happened at any time after its call, or never.

use std::collections::HashSet;
use std::hash::Hash;

/// Configurations that are tried before the search gives up: far more than any history
/// of a test needs.
const TRIED_MAX: usize = 5_000_000;

/// The rules, one operation at a time.
pub trait Rules {
    /// All that decides an answer.
    type State: Clone + Eq + Hash;
    /// What was asked.
    type Call;
    /// What was answered.
    type Answer;

    /// The state after a call with this answer (none: whichever it would have been); none
    /// where the rules would have answered otherwise.
    fn step(
        &self,
        state: &Self::State,
        index: usize,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// One operation of a history. Times are of one clock.
#[derive(Clone, Debug)]
pub struct Operation<C, A> {
    pub call: C,
    pub called_ns: u64,
    /// What was answered, and when; none: nobody knows.
    pub answer: Option<(A, u64)>,
}

/// Why a history is not known to be linearizable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is no order. The longest one that was found leaves these out.
    NoOrder { left_out: Vec<usize> },
    /// The search took too long.
    TooHard,
}

/// Which operations have had their turn.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn with(&self, index: usize) -> Done {
        let mut more = self.clone();
        more.0[index / 64] |= 1 << (index % 64);
        more
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// Searches an order for a history.
///
/// # Errors
/// There is none, or the search took too long.
pub fn check<R: Rules>(
    rules: &R,
    start: R::State,
    history: &[Operation<R::Call, R::Answer>],
) -> Result<(), Failure> {
    let none_done = Done(vec![0; history.len().div_ceil(64).max(1)]);
    let mut tried = HashSet::new();
    let mut longest = none_done.clone();
    let mut open = vec![(none_done, start)];
    while let Some((done, state)) = open.pop() {
        let left = || (0..history.len()).filter(|&index| !done.has(index));
        let Some(first_answer_ns) =
            left().filter_map(|index| history[index].answer.as_ref()).map(|(_, at)| *at).min()
        else {
            return Ok(());
        };
        if done.count() > longest.count() {
            longest = done.clone();
        }
        for index in left().filter(|&index| history[index].called_ns <= first_answer_ns) {
            let Operation { call, answer, .. } = &history[index];
            let answer = answer.as_ref().map(|(answer, _)| answer);
            let Some(next) = rules.step(&state, index, call, answer) else { continue };
            let next = (done.with(index), next);
            if tried.insert(next.clone()) {
                open.push(next);
            }
        }
        if tried.len() > TRIED_MAX {
            return Err(Failure::TooHard);
        }
    }
    let left_out =
        (0..history.len()).filter(|&index| !longest.has(index) && history[index].answer.is_some());
    Err(Failure::NoOrder { left_out: left_out.collect() })
}

/// A register that is written and read: enough to tell whether the search is right.
struct Register;

enum Access {
    Write(u8),
    Read,
}

impl Rules for Register {
    type State = u8;
    type Call = Access;
    type Answer = u8;

    fn step(&self, state: &u8, _: usize, call: &Access, answer: Option<&u8>) -> Option<u8> {
        match (call, answer) {
            (Access::Write(value), _) => Some(*value),
            (Access::Read, Some(answer)) => (answer == state).then_some(*state),
            (Access::Read, None) => Some(*state),
        }
    }
}

fn write(value: u8, called_ns: u64, answered_ns: Option<u64>) -> Operation<Access, u8> {
    Operation { call: Access::Write(value), called_ns, answer: answered_ns.map(|at| (0, at)) }
}

fn read(value: u8, called_ns: u64, answered_ns: u64) -> Operation<Access, u8> {
    Operation { call: Access::Read, called_ns, answer: Some((value, answered_ns)) }
}

fn register(history: &[Operation<Access, u8>]) -> Result<(), Failure> {
    check(&Register, 0, history)
}

#[test]
fn what_overlaps_may_come_in_any_order() {
    assert_eq!(register(&[write(1, 0, Some(10)), read(0, 1, 2), read(1, 3, 4)]), Ok(()));
    assert_eq!(register(&[write(1, 0, Some(10)), write(2, 1, Some(9)), read(1, 11, 12)]), Ok(()));
    assert_eq!(register(&[]), Ok(()));
}

#[test]
fn a_read_never_goes_back() {
    let history = [write(1, 0, Some(10)), read(1, 1, 2), read(0, 3, 4)];
    assert_eq!(register(&history), Err(Failure::NoOrder { left_out: vec![2] }));
    let history = [write(1, 0, Some(1)), read(0, 2, 3)];
    assert_eq!(register(&history), Err(Failure::NoOrder { left_out: vec![1] }));
}

#[test]
fn what_was_not_answered_happened_at_any_time_later_or_never() {
    assert_eq!(register(&[write(1, 0, None), read(0, 1, 2), read(1, 3, 4)]), Ok(()));
    assert_eq!(register(&[write(1, 0, None), read(0, 1, 2), read(0, 3, 4)]), Ok(()));
    let back = [write(1, 0, None), read(1, 1, 2), read(0, 3, 4)];
    assert!(register(&back).is_err());
    // Nothing happens before it is asked for.
    assert!(register(&[read(1, 0, 1), write(1, 2, None)]).is_err());
}
