//! What happened: a short history in memory and a live broadcast. Publishing never waits for a reader.

use crate::clock::now_ns;
use indexmap::IndexMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

/// How many events a late reader can still be given, as in dockerd.
const HISTORY_MAX: usize = 256;
/// How many events a slow reader may lag behind before it is told that it missed some.
const LAG_MAX: usize = 16 * 1024;

/// One event, in Docker's vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `container`, `image`, `network`, `volume`, `daemon`.
    pub kind: &'static str,
    /// `create`, `start`, `exec_create: sh`, ….
    pub action: String,
    /// Whom it concerns.
    pub actor_id: String,
    /// Name, image, labels, exit code, ….
    pub attributes: IndexMap<String, String>,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
}

/// The daemon's events.
#[derive(Clone)]
pub struct Events {
    history: Arc<Mutex<VecDeque<Arc<Event>>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            history: Arc::default(),
            live: broadcast::channel(LAG_MAX).0,
        }
    }
}

impl Events {
    /// Publishes an event with the time of now.
    pub fn publish(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        actor_id: &str,
        attributes: IndexMap<String, String>,
    ) {
        let mut history = self
            .history
            .lock()
            .expect("no code panics while it holds the history");
        // The time is taken under the lock, so that the order of times is the order of events.
        let event = Event {
            kind,
            action: action.into(),
            actor_id: actor_id.to_owned(),
            attributes,
            time_ns: now_ns(),
        };
        let event = Arc::new(event);
        if history.len() == HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(event.clone());
        // No receiver is no error: nobody is listening.
        let _ = self.live.send(event);
    }

    /// How many readers there are now.
    pub fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    /// The remembered events in `[since, until]`, none if `since` is not given, and everything after, without gap or repetition.
    pub fn subscribe(
        &self,
        since_ns: Option<i64>,
        until_ns: Option<i64>,
    ) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let history = self
            .history
            .lock()
            .expect("no code panics while it holds the history");
        let live = self.live.subscribe();
        let past = match since_ns {
            None if until_ns.is_none() => Vec::new(),
            _ => history
                .iter()
                .filter(|e| {
                    e.time_ns >= since_ns.unwrap_or(i64::MIN)
                        && e.time_ns <= until_ns.unwrap_or(i64::MAX)
                })
                .cloned()
                .collect(),
        };
        (past, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_and_live_join_without_gap() {
        let events = Events::default();
        for index in 0..300 {
            events.publish("container", format!("a{index}"), "x", IndexMap::new());
        }
        let (past, mut live) = events.subscribe(Some(0), None);
        events.publish("container", "last", "x", IndexMap::new());
        assert_eq!((past.len(), past[0].action.as_str()), (HISTORY_MAX, "a44"));
        assert_eq!(live.try_recv().expect("one is live").action, "last");
        assert!(events.subscribe(None, None).0.is_empty());
    }
}
