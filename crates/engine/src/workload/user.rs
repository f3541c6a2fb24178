//! Looks up `user[:group]` in a container's own `/etc/passwd` and `/etc/group`, read beneath its root and bounded.
//!
//! Pure over the files' text. Digits are numbers and never names (CVE-2024-40635); a number is at most 2^31 - 1.
//! Texts and order of look-ups follow moby's `user.GetExecUser`.

use crate::container::spec::ResolvedUser;
use gantry_base::{Error, Result};

const ID_MAX: u64 = (1 << 31) - 1;

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(PasswdLine {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or_default(),
        })
    })
}

/// Name, gid, members.
fn group_lines(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// Digits alone (perhaps signed) are a number; a number out of range is an error and never a name.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.chars().all(char::is_numeric) {
        return Ok(None);
    }
    let out_of_range = || Error::invalid("uids and gids must be in range 0-2147483647");
    if digits.len() != text.len() || !digits.is_ascii() {
        return Err(out_of_range());
    }
    match digits.parse::<u64>() {
        Ok(value) if value <= ID_MAX => Ok(u32::try_from(value).ok()),
        _ => Err(out_of_range()),
    }
}

/// Resolves what `--user` or an image says, with `--group-add`.
///
/// # Errors
/// Docker's texts for users and groups that are not in the files.
pub(crate) fn resolve(
    spec: &str,
    group_add: &[String],
    passwd: &str,
    group: &str,
) -> Result<ResolvedUser> {
    let (user_text, group_text) = spec.split_once(':').unwrap_or((spec, ""));
    let wanted = number(user_text)?;
    let line = passwd_lines(passwd).find(|line| match wanted {
        Some(uid) => line.uid == uid,
        None if user_text.is_empty() => line.uid == 0,
        None => line.name == user_text,
    });
    let mut user = ResolvedUser::default();
    match (&line, wanted) {
        (Some(line), _) => {
            user.uid = line.uid;
            user.gid = line.gid;
            line.home.clone_into(&mut user.home);
        }
        (None, Some(uid)) => user.uid = uid,
        (None, None) if user_text.is_empty() => {}
        (None, None) => {
            return Err(Error::invalid(format!(
                "unable to find user {user_text}: no matching entries in passwd file"
            )));
        }
    }
    if group_text.is_empty() {
        if let Some(line) = &line {
            let member = |members: &str| members.split(',').any(|member| member == line.name);
            user.additional_gids = group_lines(group)
                .filter(|(_, _, members)| member(members))
                .map(|(_, gid, _)| gid)
                .collect();
        }
    } else {
        user.gid = group_id(group_text, group)?;
    }
    for name in group_add {
        let gid = group_id(name, group)?;
        if !user.additional_gids.contains(&gid) {
            user.additional_gids.push(gid);
        }
    }
    // The primary group is in the list too, as with initgroups: else a file denied to it could be read (CVE-2022-36109).
    if !user.additional_gids.contains(&user.gid) {
        user.additional_gids.insert(0, user.gid);
    }
    Ok(user)
}

fn group_id(text: &str, group: &str) -> Result<u32> {
    if let Some(gid) = number(text)? {
        return Ok(gid);
    }
    group_lines(group)
        .find(|(name, _, _)| *name == text)
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| {
            Error::invalid(format!(
                "unable to find group {text}: no matching entries in group file"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:\n4294967296:x:0:0::/:\n+0:x:0:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nvideo:x:44:web,other\n";

    fn of(spec: &str) -> Result<(u32, u32, Vec<u32>)> {
        resolve(spec, &[], PASSWD, GROUP).map(|user| (user.uid, user.gid, user.additional_gids))
    }

    #[test]
    fn users_groups_and_memberships() {
        assert_eq!(of("").expect("root"), (0, 0, vec![0]));
        assert_eq!(of("web").expect("by name"), (33, 33, vec![33, 44]));
        assert_eq!(of("33").expect("by number"), (33, 33, vec![33, 44]));
        assert_eq!(of("1234").expect("unknown number"), (1234, 0, vec![0]));
        assert_eq!(of("web:video").expect("with group"), (33, 44, vec![44]));
        assert_eq!(of("1000:1001").expect("numbers"), (1000, 1001, vec![1001]));
        let user = resolve("web", &["video".into(), "7".into()], PASSWD, GROUP).expect("group-add");
        assert_eq!(
            (user.additional_gids, user.home.as_str()),
            (vec![33, 44, 7], "/var/www")
        );
    }

    #[test]
    fn numbers_out_of_range_are_never_looked_up_as_names() {
        for bad in [
            "4294967296",
            "2147483648",
            "-1",
            "+0",
            "99999999999999999999999999",
            "٣",
            "web:-1",
            "0:4294967295",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert_eq!(of("00").expect("zeros are a number").0, 0);
    }

    #[test]
    fn unknown_names_have_dockers_texts() {
        let text = of("nobodyx").expect_err("unknown").to_string();
        assert_eq!(
            text,
            "unable to find user nobodyx: no matching entries in passwd file"
        );
        let text = of("web:nogroupx").expect_err("unknown").to_string();
        assert_eq!(
            text,
            "unable to find group nogroupx: no matching entries in group file"
        );
    }
}
