//! The time that an engine lives by: it never runs backwards and never jumps.

use onsale_core::Time;
use onsale_planted::{Bug, is};

/// How fast the clock moves towards the wall's: 1 part in this many.
const SLEW: i64 = 100;
/// A distance from the wall beyond this, in microseconds, is worth an alarm.
const ALARM_US: i64 = 1_000_000;

/// A clock that runs on the monotonic clock, from the later of the wall's time
/// and the last event's, slewed towards the wall by at most 1 %.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Time,
    monotonic_us: i64,
    off_us: i64,
}

impl Clock {
    /// Starts at the later of the wall's time and the last event's.
    #[must_use]
    pub fn start(wall: Time, monotonic_us: i64, last_event: Time) -> Clock {
        let now = wall.max(last_event);
        Clock { now, monotonic_us, off_us: now.0 - wall.0 }
    }

    /// The time now, given what the two clocks of the machine say.
    pub fn now(&mut self, wall: Time, monotonic_us: i64) -> Time {
        let elapsed = (monotonic_us - self.monotonic_us).max(0);
        let straight = self.now.0 + elapsed;
        let slew_max = if is(Bug::ClockFollowsWall) { i64::MAX / 2 } else { elapsed / SLEW };
        let slew = (wall.0 - straight).clamp(-slew_max, slew_max);
        // A step of less than 100 µs has no room for slew: it waits for a longer one.
        if slew_max > 0 || elapsed == 0 || straight == wall.0 {
            self.monotonic_us = self.monotonic_us.max(monotonic_us);
            self.now = Time(straight + slew);
        } else {
            return Time(straight);
        }
        self.off_us = self.now.0 - wall.0;
        self.now
    }

    /// How far the clock is ahead of the wall, in microseconds, where that is
    /// more than a second: the machine's clock jumped, or was wrong before.
    #[must_use]
    pub fn alarm_us(&self) -> Option<i64> {
        (self.off_us.abs() > ALARM_US).then_some(self.off_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_later_of_wall_and_last_event() {
        assert_eq!(Clock::start(Time(10), 0, Time(5)).now, Time(10));
        assert_eq!(Clock::start(Time(10), 0, Time(50)).now, Time(50));
    }

    #[test]
    fn follows_the_monotonic_clock() {
        let mut clock = Clock::start(Time(1_000), 7, Time(0));
        assert_eq!(clock.now(Time(1_050), 57), Time(1_050));
        assert_eq!(clock.now(Time(2_001_000), 2_000_007), Time(2_001_000));
        assert_eq!(clock.alarm_us(), None);
    }

    #[test]
    fn a_jump_of_the_wall_is_slewed_and_raises_an_alarm() {
        for jump in [3_600_000_000, -3_600_000_000] {
            let mut clock = Clock::start(Time(10_000_000_000), 0, Time(0));
            let after = clock.now(Time(10_001_000_000 + jump), 1_000_000);
            let expected = 10_001_000_000 + jump.signum() * 10_000;
            assert_eq!(after, Time(expected));
            assert!(clock.alarm_us().is_some());
        }
    }

    #[test]
    fn never_runs_backwards_however_often_it_is_asked() {
        let mut clock = Clock::start(Time(1_000_000), 0, Time(0));
        let mut last = Time(0);
        for step in 0..10_000 {
            // The wall goes backwards; the monotonic clock creeps by 3 µs.
            let now = clock.now(Time(1_000_000 - step * 5), step * 3);
            assert!(now >= last, "{now:?} after {last:?}");
            last = now;
        }
    }

    #[test]
    fn comes_back_to_the_wall() {
        let mut clock = Clock::start(Time(0), 0, Time(500_000));
        let mut now = Time(0);
        for second in 1..=60 {
            now = clock.now(Time(second * 1_000_000), second * 1_000_000);
        }
        assert_eq!(now, Time(60_000_000));
    }
}
