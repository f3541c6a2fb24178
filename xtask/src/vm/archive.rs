//! The guest's initial file system: a cpio archive of the kind `newc`, in memory or in a file.

use std::io::Write;

/// Mode bits of a folder, a program, a link, a character device.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that is being written. Folders come before what is in them.
pub(super) struct Archive<W> {
    file: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    /// Begins with the console's node, without which the first process would have no output.
    pub(super) fn new(file: W) -> std::io::Result<Self> {
        let mut archive = Self { file, entries: 0 };
        archive.folder("dev")?;
        archive.add("dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
        Ok(archive)
    }

    pub(super) fn folder(&mut self, name: &str) -> std::io::Result<()> {
        self.add(name, FOLDER, (0, 0), &[])
    }

    /// A file that can be executed.
    pub(super) fn program(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
        self.add(name, PROGRAM, (0, 0), content)
    }

    pub(super) fn link(&mut self, name: &str, target: &str) -> std::io::Result<()> {
        self.add(name, LINK, (0, 0), target.as_bytes())
    }

    pub(super) fn finish(mut self) -> std::io::Result<W> {
        self.add("TRAILER!!!", 0, (0, 0), &[])?;
        self.file.flush()?;
        Ok(self.file)
    }

    fn add(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        content: &[u8],
    ) -> std::io::Result<()> {
        const MAGIC: &str = "070701";
        const HEADER_LEN: usize = 110;
        self.entries += 1;
        let size = u32::try_from(content.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        let name_len =
            u32::try_from(name.len() + 1).map_err(|_| std::io::ErrorKind::InvalidFilename)?;
        // inode, mode, user, group, links, time, size, device, device node, length of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_len,
            0,
        ];
        write!(self.file, "{MAGIC}")?;
        for field in fields {
            write!(self.file, "{field:08x}")?;
        }
        write!(self.file, "{name}\0")?;
        self.pad(HEADER_LEN + name.len() + 1)?;
        self.file.write_all(content)?;
        self.pad(content.len())
    }

    /// Everything begins at a multiple of four bytes.
    fn pad(&mut self, length: usize) -> std::io::Result<()> {
        self.file
            .write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive::new(Vec::new()).expect("writes to memory");
        let begin = archive.file.len();
        archive.program("init", b"12345").expect("writes to memory");
        let bytes = archive.finish().expect("writes to memory");
        assert_eq!(bytes.len() % 4, 0);
        let bytes = &bytes[begin..];
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..115], b"init\0");
        assert_eq!(
            &bytes[116..121],
            b"12345",
            "the header and the name are 115 bytes long, so one is put between"
        );
        let second = 124;
        assert_eq!(&bytes[second..second + 6], b"070701");
        assert_eq!(&bytes[second + 110..second + 121], b"TRAILER!!!\0");
    }
}
