//! No panic is lost: whatever panics in this process, on whichever thread, is one line of the log.
//!
//! A panic inside openraft stops one group and nothing else, and what openraft reports of it later
//! is only that it happened. Only the hook hears the message and the place.

use std::any::Any;
use std::panic::{self, PanicHookInfo};
use std::thread;

/// Logs every panic of this process from now on as an error of node `node`, with thread, message
/// and place. What was told of panics before is told as well: a filter may drop the log's line.
pub(super) fn log_panics(node: u64) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        log(node, info);
        before(info);
    }));
}

fn log(node: u64, info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    tracing::error!(
        target: "quicraft::kv",
        node,
        thread = thread.name().unwrap_or("unnamed"),
        place = info.location().map(tracing::field::display),
        message_of_panic = message(info.payload()),
        "panicked"
    );
}

/// The text that a panic was raised with. `panic!` gives a `&str` or a `String`; another payload is
/// somebody's `panic_any`.
fn message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log has after `panics` on this thread, under the hook of node 7.
    fn logged(panics: impl FnOnce() + panic::UnwindSafe) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let before = panic::take_hook();
            log_panics(7);
            panic::catch_unwind(panics).unwrap_err();
            panic::set_hook(before);
        });
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// One test, because a process has one hook.
    #[test]
    fn a_panic_is_logged_with_node_thread_place_and_message() {
        let thread = thread::current();
        let line = logged(|| panic!("expected {} here", 3));
        for part in [
            "ERROR quicraft::kv: panicked node=7",
            &format!("thread=\"{}\"", thread.name().unwrap()),
            &format!("place={}:", file!()),
            "message_of_panic=\"expected 3 here\"",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(line.lines().count(), 1, "{line}");

        let line = logged(|| panic!("a plain one"));
        assert!(line.contains("\"a plain one\""), "{line}");
        let line = logged(|| panic::panic_any(3_u8));
        assert!(line.contains("\"not a text\""), "{line}");
    }
}
