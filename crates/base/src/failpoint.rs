//! Named places at which a test can make the process die, fail or wait.
//!
//! Armed only by the environment, read once: `GANTRY_FAILPOINTS=start.after_veth=kill;create.snapshot=delay(50)`.
//! An unarmed failpoint costs one load of an initialised cell.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Kill,
    Fail,
    Delay(Duration),
}

fn armed() -> &'static HashMap<String, Action> {
    static ARMED: OnceLock<HashMap<String, Action>> = OnceLock::new();
    ARMED.get_or_init(|| parse(&std::env::var("GANTRY_FAILPOINTS").unwrap_or_default()))
}

fn parse(text: &str) -> HashMap<String, Action> {
    text.split(';')
        .filter_map(|item| {
            let (name, action) = item.split_once('=')?;
            let action = match action.trim() {
                "kill" => Action::Kill,
                "fail" => Action::Fail,
                other => {
                    let milliseconds = other
                        .strip_prefix("delay(")?
                        .strip_suffix(')')?
                        .parse()
                        .ok()?;
                    Action::Delay(Duration::from_millis(milliseconds))
                }
            };
            Some((name.trim().to_owned(), action))
        })
        .collect()
}

/// Called by [`failpoint!`](crate::failpoint); dies, fails or waits where the environment says so.
///
/// # Errors
/// An internal error that names the failpoint, where it is armed with `fail`.
pub fn hit(name: &str) -> crate::Result<()> {
    let armed = armed();
    if armed.is_empty() {
        return Ok(());
    }
    match armed.get(name) {
        None => Ok(()),
        Some(Action::Kill) => {
            eprintln!("failpoint {name}: killing this process");
            std::process::abort()
        }
        Some(Action::Fail) => Err(crate::Error::internal(format!("failpoint {name}"))),
        Some(Action::Delay(time)) => {
            std::thread::sleep(*time);
            Ok(())
        }
    }
}

/// A place where a crash test may interrupt us: `failpoint!("start.after_veth")` returns early with an error, waits, or never returns.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint_hit($name)?
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_action_and_drops_nonsense() {
        let armed = parse("a=kill; b.c=fail;d=delay(20);e=explode;f");
        assert_eq!(armed.len(), 3);
        assert_eq!(armed["d"], Action::Delay(Duration::from_millis(20)));
        assert_eq!(armed["b.c"], Action::Fail);
    }
}
