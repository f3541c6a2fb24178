//! One low-priority thread for deletions that nobody waits for, in the order they were asked for.

use std::sync::{Mutex, mpsc};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other.
pub(crate) struct Cleaner {
    jobs: Mutex<mpsc::Sender<Job>>,
}

impl Cleaner {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("cleaner".into())
            .spawn(move || {
                for job in queue {
                    job();
                }
            })?;
        Ok(Self {
            jobs: Mutex::new(jobs),
        })
    }

    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The thread ends with the last sender, so there is always a receiver.
        drop(
            self.jobs
                .lock()
                .expect("no code panics while it holds the sender")
                .send(Box::new(job)),
        );
    }

    /// Waits until everything asked for so far is done.
    pub(crate) fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        self.run(move || {
            // Nobody waits any more: fine.
            let _ = done.send(());
        });
        // An error means that the thread is gone, and with it all jobs.
        let _ = wait.recv();
    }
}
