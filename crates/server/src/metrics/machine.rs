//! Figures of the process and of the disk, as the system tells them at each scrape.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Page;

/// Clock ticks per second in `/proc`: the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Figures as text. It reads small files and the folder's file system: not for a thread that must
/// not wait. What the system does not tell has no line.
#[must_use]
pub fn render(data: &Path) -> String {
    let mut page = Page::default();
    let name = "onsale_build_info";
    page.head(name, "gauge", "1; its label is the version.");
    page.line(name, concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
    let mut figure = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            page.head(name, kind, help);
            page.line(name, "", value);
        }
    };
    let disk = rustix::fs::statvfs(data).ok();
    let bytes = |blocks: u64, of: u64| blocks as f64 * of as f64;
    figure(
        "onsale_disk_free_bytes",
        "gauge",
        "Bytes that are free for the server on the data folder's disk.",
        disk.as_ref().map(|disk| bytes(disk.f_bavail, disk.f_frsize)),
    );
    figure(
        "onsale_disk_bytes",
        "gauge",
        "Bytes of the data folder's disk.",
        disk.as_ref().map(|disk| bytes(disk.f_blocks, disk.f_frsize)),
    );
    figure("onsale_cores", "gauge", "Cores that it works on.", cores());
    let process = Process::read();
    figure(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of the process.",
        process.as_ref().map(|process| process.resident_bytes),
    );
    figure(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of the process.",
        process.as_ref().map(|process| process.cpu_seconds),
    );
    figure(
        "process_start_time_seconds",
        "gauge",
        "When the process began, in seconds since 1970.",
        process.as_ref().and_then(Process::started_at),
    );
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    figure("process_open_fds", "gauge", "Open files, connections among them.", open);
    let max = getrlimit(Resource::Nofile).current.map(|max| max as f64);
    figure("process_max_fds", "gauge", "Open files that the system allows it.", max);
    page.text
}

/// Cores that the main thread may use, and with it all others together.
fn cores() -> Option<f64> {
    let set = rustix::thread::sched_getaffinity(Some(rustix::process::getpid())).ok()?;
    Some(f64::from(set.count()))
}

/// What `/proc/self/stat` says.
struct Process {
    resident_bytes: f64,
    cpu_seconds: f64,
    /// Since the machine began.
    started_seconds: f64,
}

impl Process {
    fn read() -> Option<Process> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        Process::parse(&stat)
    }

    /// The fields after the name, which is in brackets and may hold anything.
    fn parse(stat: &str) -> Option<Process> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // The first of these is the third in proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Process {
            resident_bytes: field(24)? * rustix::param::page_size() as f64,
            cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            started_seconds: field(22)? / TICKS_PER_SECOND,
        })
    }

    fn started_at(&self) -> Option<f64> {
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let now = crate::shards::wall_time().0 as f64 / 1e6;
        let since_boot = uptime.tv_sec as f64 + uptime.tv_nsec as f64 / 1e9;
        // To a tenth: what is measured twice must not look like two starts.
        Some(((now - since_boot + self.started_seconds) * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_figures() {
        let text = render(Path::new("/"));
        for name in [
            "onsale_build_info{version=",
            "onsale_disk_free_bytes ",
            "onsale_disk_bytes ",
            "onsale_cores ",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
            "process_open_fds ",
            "process_max_fds ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(name)), "no {name:?} in\n{text}");
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 900 0 3 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.cpu_seconds, process.started_seconds), (3.0, 9.0));
        assert!(process.resident_bytes >= 3.0 * 4096.0);
    }
}
