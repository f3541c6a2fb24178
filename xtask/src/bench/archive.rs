//! The archives that the benchmark feeds to daemons: one with a single program, and one as large as a small distribution.

use gantry_testkit::tar::Archive;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes of file content after which the large archive ends.
const TREE_BYTES: u64 = 200 << 20;

/// An archive with one executable file.
pub(super) fn with_program(name: &str, program: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(program)?;
    let size = file.metadata()?.len();
    let mut archive = Archive::new(Vec::new());
    archive.file(name, 0o755, file, size)?;
    archive.finish()
}

/// An archive of folders, links and files of this system's `/usr`, in the order of their names, up to a fixed size.
pub(super) fn of_this_system(sink: impl Write) -> io::Result<()> {
    of_folders(&["/usr/bin", "/usr/lib", "/usr/share"], TREE_BYTES, sink)
}

/// An archive of those of the folders that are there, up to so many bytes of file content.
pub(super) fn of_folders(folders: &[&str], bytes_max: u64, sink: impl Write) -> io::Result<()> {
    let mut archive = Archive::new(sink);
    let mut left = bytes_max;
    for folder in folders.iter().map(Path::new).filter(|f| f.is_dir()) {
        add_folder(folder, &mut archive, &mut left)?;
    }
    archive.finish().map(drop)
}

fn add_folder(folder: &Path, archive: &mut Archive<impl Write>, left: &mut u64) -> io::Result<()> {
    archive.folder(&name_of(folder), 0o755)?;
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *left == 0 {
            return Ok(());
        }
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            add_folder(&path, archive, left)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path)?;
            archive.link(&name_of(&path), &target.to_string_lossy())?;
        } else if metadata.is_file() && metadata.len() <= *left {
            let mode = metadata.permissions().mode() & 0o7777;
            archive.file(
                &name_of(&path),
                mode,
                fs::File::open(&path)?,
                metadata.len(),
            )?;
            *left -= metadata.len();
        }
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}
