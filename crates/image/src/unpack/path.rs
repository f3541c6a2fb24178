//! Paths of members, cleaned as Go's `filepath.Clean` does, without looking at any file.

use gantry_base::{Error, Result};

/// The path relative to the layer's root, without `.`, `..`, doubled or outer slashes; empty for the root itself.
///
/// # Errors
/// When it leads out of the root, or holds a NUL.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>> {
    if path.contains(&0) {
        return Err(Error::invalid("invalid argument"));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let is_absolute = path.first() == Some(&b'/');
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                // Above the root of an absolute path is the root again.
                if parts.pop().is_none() && !is_absolute {
                    return Err(Error::invalid(format!(
                        "{:?} is outside of the layer",
                        String::from_utf8_lossy(path)
                    )));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// Parent and name of a cleaned path; none for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match memchr::memrchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_as_go_does_and_refuses_the_way_out() {
        for (path, wanted) in [
            ("a//b/./c/", "a/b/c"),
            ("/a/b", "a/b"),
            ("./", ""),
            ("", ""),
            ("a/../b", "b"),
            ("/../../etc", "etc"),
            ("a/..", ""),
        ] {
            assert_eq!(clean(path.as_bytes()).expect(path), wanted.as_bytes());
        }
        for bad in ["..", "../a", "a/../../b", "a\0b"] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b""), None);
    }
}
