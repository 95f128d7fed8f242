//! A sleep that ends when it should. The runtime's own timers count whole
//! milliseconds, which would be seen as latency of a server that answers in less;
//! Linux has a finer clock to wait for.

use std::io;

#[cfg(target_os = "linux")]
mod fine {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    pub(crate) struct Timer {
        fd: AsyncFd<OwnedFd>,
    }

    impl Timer {
        #[expect(
            deprecated,
            reason = "sound here: an OwnedFd is the same file as long as it lives"
        )]
        pub(super) fn create() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self { fd: AsyncFd::new(fd)? })
        }

        pub(super) async fn wait(&mut self, time: Duration) -> io::Result<()> {
            // Zero would switch the timer off.
            let time = time.max(Duration::from_nanos(1));
            let value = Timespec {
                tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: time.subsec_nanos().into(),
            };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval: never, it_value: value };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.fd.readable().await?;
                let mut expirations = [0; 8];
                let read = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut expirations)?));
                // Setting it anew takes back an expiration: then there is nothing to read yet.
                if let Ok(read) = read {
                    return read.map(drop);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod fine {
    use std::io;
    use std::time::Duration;

    pub(crate) struct Timer;

    impl Timer {
        #[expect(
            deprecated,
            reason = "sound here: an OwnedFd is the same file as long as it lives"
        )]
        pub(super) fn create() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn wait(&mut self, time: Duration) -> io::Result<()> {
            tokio::time::sleep(time).await;
            Ok(())
        }
    }
}

pub(crate) use fine::Timer;

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        Self::create()
    }

    /// Waits for so many microseconds. May be dropped and called again.
    pub(crate) async fn sleep_us(&mut self, us: u64) -> io::Result<()> {
        self.wait(std::time::Duration::from_micros(us)).await
    }
}
