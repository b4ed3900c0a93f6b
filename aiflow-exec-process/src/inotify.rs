//! Who is to be woken when a file grows?
//!
//! One inotify instance serves all attempts of an executor. Where there is none, the executor's periodic round wakes everybody.

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::{Arc, Mutex, PoisonError};

    use rustix::fs::inotify;
    use tokio::io::unix::AsyncFd;
    use tokio::sync::Notify;

    /// Room for a hundred or more notices at a time.
    const BUFFER_BYTES: usize = 4096;

    type Watches = HashMap<i32, Arc<Notify>>;

    /// Wakes whoever watches a file that grows.
    #[derive(Debug)]
    pub(crate) struct Inotify {
        fd: AsyncFd<Arc<OwnedFd>>,
        watches: Mutex<Watches>,
    }

    /// Ends the watch when dropped.
    #[derive(Debug)]
    pub(crate) struct Watch {
        inotify: Arc<Inotify>,
        number: i32,
    }

    impl Inotify {
        pub(crate) fn open() -> Option<Arc<Self>> {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let fd = inotify::init(flags).ok()?;
            Some(Arc::new(Self { fd: crate::readiness::watched(Arc::new(fd)).ok()?, watches: Mutex::default() }))
        }

        fn watches(&self) -> std::sync::MutexGuard<'_, Watches> {
            self.watches.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Notifies `wake` whenever the file grows.
        pub(crate) fn watch(self: &Arc<Self>, path: &Path, wake: Arc<Notify>) -> Option<Watch> {
            // Locked before the watch exists, so that its first notice finds whom to wake.
            let mut watches = self.watches();
            let number = inotify::add_watch(self.fd.get_ref(), path, inotify::WatchFlags::MODIFY).ok()?;
            watches.insert(number, wake);
            Some(Watch { inotify: Arc::clone(self), number })
        }

        /// Passes notices on, for ever.
        pub(crate) async fn run(&self) {
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            while let Ok(mut ready) = self.fd.readable().await {
                let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
                loop {
                    match reader.next() {
                        Ok(notice) => self.pass_on(notice.wd(), notice.events()),
                        Err(rustix::io::Errno::INTR) => {}
                        Err(_) => break,
                    }
                }
                ready.clear_ready();
            }
        }

        fn pass_on(&self, number: i32, events: inotify::ReadFlags) {
            let watches = self.watches();
            if events.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                watches.values().for_each(|wake| wake.notify_one());
            } else if let Some(wake) = watches.get(&number) {
                wake.notify_one();
            }
        }
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            // The file may be gone, and its watch with it.
            let _ = inotify::remove_watch(self.inotify.fd.get_ref(), self.number);
            self.inotify.watches().remove(&self.number);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::path::Path;
    use std::sync::Arc;

    use tokio::sync::Notify;

    /// Cannot be opened here.
    #[derive(Debug)]
    pub(crate) enum Inotify {}

    /// Cannot exist here.
    #[derive(Debug)]
    pub(crate) enum Watch {}

    impl Inotify {
        pub(crate) fn open() -> Option<Arc<Self>> {
            None
        }

        pub(crate) fn watch(self: &Arc<Self>, _path: &Path, _wake: Arc<Notify>) -> Option<Watch> {
            match **self {}
        }

        pub(crate) async fn run(&self) {
            match *self {}
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::{Inotify, Watch};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{Inotify, Watch};
