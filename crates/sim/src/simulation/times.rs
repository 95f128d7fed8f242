//! The machine's clocks: one that only goes on, and the wall's, which is set by hand.

use onsale_core::time::Time;

use super::GONE_US;

/// When the world begins: when the generator's histories do.
const BEGIN_US: i64 = 1_750_000_000_000_000;
/// What a wall clock is put forward or back by, at most.
pub(super) const JUMP_US_MAX: i64 = 3_600_000_000;

/// Both clocks of the machine.
pub(super) struct Times {
    /// Since the beginning of the world.
    gone_us: i64,
    /// What the wall's clock is wrong by.
    wrong_us: i64,
    /// When the server was started.
    started_us: i64,
}

impl Times {
    pub(super) fn new() -> Times {
        GONE_US.set(0);
        Times { gone_us: 0, wrong_us: 0, started_us: 0 }
    }

    pub(super) fn pass(&mut self, us: i64) {
        self.gone_us += us.max(0);
        GONE_US.set(self.gone_us);
    }

    /// The wall's clock is set; it is never wrong by more than the most that it jumps.
    pub(super) fn jump(&mut self, us: i64) {
        self.wrong_us = (self.wrong_us + us).clamp(-JUMP_US_MAX, JUMP_US_MAX);
    }

    pub(super) fn start(&mut self) {
        self.started_us = self.gone_us;
    }

    pub(super) fn wall(&self) -> Time {
        Time(BEGIN_US + self.gone_us + self.wrong_us)
    }

    /// Since the server was started.
    pub(super) fn monotonic_us(&self) -> i64 {
        self.gone_us - self.started_us
    }
}
