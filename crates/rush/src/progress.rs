//! The progress bar: how much of the stock is sold and how the server answers.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::Live;

/// A bar on stderr that shows [`Live`] figures. It shows nothing when stderr is not a terminal.
pub struct Progress {
    bar: ProgressBar,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// An empty bar.
    #[must_use]
    pub fn new() -> Self {
        // The target is hidden by itself when stderr is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{prefix:<10} [{elapsed_precise}] {bar:30} {human_pos}/{human_len} {msg}",
        )
        .expect("the template is well-formed");
        bar.set_style(style);
        Self { bar }
    }

    /// Shows these figures. Give it to [`crate::run`]: `&mut |live| progress.show(live)`.
    pub fn show(&self, live: &Live) {
        self.bar.set_prefix(live.phase);
        self.bar.set_length(live.of.max(live.done));
        self.bar.set_position(live.done);
        self.bar.set_message(if live.phase == "selling" {
            format!(
                "tickets, {} buyers, {} holds, {:.0} answers/s, p99 {:.1} ms, {} errors",
                live.buyers_arrived,
                live.holds,
                live.answers_per_second,
                live.hold_ms_p99,
                live.errors
            )
        } else {
            String::new()
        });
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
