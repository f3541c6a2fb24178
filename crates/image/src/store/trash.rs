//! Removal in two steps: a rename that is done at once, and the deletion, which may take long, on a thread.

use gantry_base::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// The directory where things wait for their deletion. The thread ends when this is dropped.
pub(super) struct Trash {
    folder: PathBuf,
    next: AtomicU64,
    wake: Sender<()>,
}

impl Trash {
    /// Starts the thread, which begins with what an earlier process left.
    pub(super) fn open(folder: PathBuf) -> Result<Self> {
        let (wake, woken) = channel();
        let path = folder.clone();
        drop(crate::ingest::spawn("image-trash", move || {
            empty_for_ever(&path, &woken);
        })?);
        let trash = Self {
            folder,
            next: AtomicU64::new(0),
            wake,
        };
        trash.wake();
        Ok(trash)
    }

    /// Takes the file or directory at `path`; it is gone from there when this returns. Fine if it was gone before.
    pub(super) fn take(&self, path: &Path) -> Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let target = self.folder.join(format!("{}-{number}", std::process::id()));
            match std::fs::rename(path, &target) {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                // Left by an earlier process of the same id.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR | libc::EISDIR)
                    ) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
            }
        }
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // The thread ends before us only if it panicked; the next start of the program then empties the trash.
        let _ = self.wake.send(());
    }
}

fn empty_for_ever(folder: &Path, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        while woken.try_recv().is_ok() {}
        let Ok(parent) = std::fs::File::open(folder) else {
            continue;
        };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // What cannot be removed is tried again with the next thing that is thrown away.
            drop(gantry_sys::file::remove_tree(&parent, entry.file_name()));
        }
    }
}
