//! The end of commands that go on until somebody has seen enough: Ctrl-C, or a reader that
//! goes away. Neither is a failure.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal;

/// How often it is looked whether somebody still reads.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a command to its end; `None` where it was interrupted.
pub(crate) async fn until_interrupted<T>(command: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = signal::ctrl_c() => None,
        () = reader_goes() => None,
        ended = command => Some(ended),
    }
}

/// Ends when nobody reads standard output any more. A pipe tells its writer without a
/// write.
async fn reader_goes() {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let stdout = std::io::stdout();
        let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let told = poll(&mut asked, Some(&now)).is_ok();
        if told && asked[0].revents().contains(PollFlags::ERR) {
            return;
        }
    }
}
