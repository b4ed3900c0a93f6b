//! Running a case: on which runtime, and for how long at most?

use std::task::Poll;
use std::time::Duration;

/// The longest a case may take. Reached only by a case that hangs.
const CASE_TIME_MAX: Duration = Duration::from_secs(120);
/// Two threads, so that concurrent callers really overlap.
const CASE_THREADS: usize = 2;

/// Runs one case on a runtime of its own; the suite macros call it.
///
/// # Panics
/// If the case does, or if it does not end.
pub fn run_case(name: &str, case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CASE_THREADS)
        .enable_all()
        .build()
        .expect("the operating system grants two threads");
    let ended = runtime.block_on(async { tokio::time::timeout(CASE_TIME_MAX, case).await });
    assert!(ended.is_ok(), "{name} did not end within {CASE_TIME_MAX:?}");
}

/// Expands to one test per case. Not for direct use: see the suite macros.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr, $suite:ident: $($case:ident),+ $(,)?) => {
        $(
            #[test]
            fn $case() {
                $crate::run_case(stringify!($case), async {
                    let fixture = $fixture;
                    $crate::$suite::$case(&fixture).await;
                });
            }
        )+
    };
}

/// Polls `future` at most `polls` times, then drops it: a caller that gives up.
pub(crate) async fn poll_at_most<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut polls_left = polls;
    std::future::poll_fn(|context| {
        if polls_left == 0 {
            return Poll::Ready(None);
        }
        polls_left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polls_left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
