//! Pulls from a registry that misbehaves: each ends in success or in a precise error, fetches little twice, shows no
//! credential to another host, and leaves nothing behind that nobody can use.

use gantry_testkit::bad_registry::{Act, Ask, BadRegistry, What};
use gantry_testkit::daemon::Daemon;
use gantry_testkit::http::Client;
use gantry_testkit::world;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LAYER_BYTES: usize = 2 << 20;
const NAME: &str = "a/b";
/// Longer than any of these pulls may take on a busy machine.
const BOUND: Duration = Duration::from_mins(1);

/// A daemon and one pull from one registry.
struct Bench {
    daemon: Daemon,
}

impl Bench {
    fn new(name: &str) -> Self {
        let mut daemon = Daemon::new(name);
        assert!(daemon.start(""), "{}", daemon.log_text());
        Self { daemon }
    }

    /// What a pull ends with: its last line, or its refusal.
    fn pull(&self, registry: &BadRegistry) -> Result<String, String> {
        pull(&mut self.daemon.client(), registry)
    }

    /// As [`Bench::pull`] from a registry with this script, which must succeed and send little twice.
    #[track_caller]
    fn succeeds(&self, what: &str, script: impl Fn(&Ask) -> Act + Send + Sync + 'static) {
        let registry = BadRegistry::start(LAYER_BYTES, script);
        self.succeeds_from(what, &registry);
        let (sent, all) = (registry.layer_bytes_sent(), registry.layer_bytes());
        assert!(sent >= all, "{what}: nothing was fetched");
        assert!(sent * 10 <= all * 11, "{what}: {sent} bytes for {all}");
    }

    #[track_caller]
    fn succeeds_from(&self, what: &str, registry: &BadRegistry) {
        let began = Instant::now();
        let end = self.pull(registry);
        assert!(
            end.as_ref()
                .is_ok_and(|line| line.contains("Downloaded newer image")),
            "{what}: {end:?}\n{}",
            self.daemon.log_text()
        );
        assert!(began.elapsed() < BOUND, "{what}: {:?}", began.elapsed());
        self.assert_nothing_left(what);
    }

    /// As [`Bench::pull`], which must fail with this text.
    #[track_caller]
    fn fails(&self, what: &str, text: &str, script: impl Fn(&Ask) -> Act + Send + Sync + 'static) {
        let registry = BadRegistry::start(LAYER_BYTES, script);
        let began = Instant::now();
        let end = self.pull(&registry);
        assert!(
            end.as_ref().is_err_and(|error| error.contains(text)),
            "{what}: {end:?}"
        );
        assert!(began.elapsed() < BOUND, "{what}: {:?}", began.elapsed());
        self.assert_nothing_left(what);
        let images = self.daemon.client().json("GET", "/images/json", None);
        assert!(
            !images
                .expect("can be listed")
                .to_string()
                .contains(&registry.host()),
            "{what}: there is an image"
        );
    }

    #[track_caller]
    fn assert_nothing_left(&self, what: &str) {
        for folder in ["partial", "ingest"] {
            let path = self.daemon.root().join("data/images").join(folder);
            let left: Vec<_> = std::fs::read_dir(path)
                .expect("the daemon makes it")
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            assert!(left.is_empty(), "{what}: {left:?} in {folder}");
        }
    }
}

fn pull(client: &mut Client, registry: &BadRegistry) -> Result<String, String> {
    pull_tag(client, registry, "1")
}

fn pull_tag(client: &mut Client, registry: &BadRegistry, tag: &str) -> Result<String, String> {
    let path = format!(
        "/images/create?fromImage={}/{NAME}&tag={tag}",
        registry.host()
    );
    let answer = client.request("POST", &path, None)?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let last = text
        .lines()
        .rfind(|line| !line.is_empty())
        .unwrap_or_default();
    if last.contains("errorDetail") {
        return Err(last.to_owned());
    }
    Ok(last.to_owned())
}

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Act {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Act::Answer(status, headers.collect(), Vec::new())
}

fn another_range() -> Act {
    let range = ("Content-Range", "bytes 0-9/*".to_owned());
    Act::Answer(206, vec![range], vec![7; 10])
}

#[test]
fn what_passes_is_waited_for_and_taken_up_again() {
    if !world::enter("bad_registry::what_passes_is_waited_for_and_taken_up_again") {
        return;
    }
    let bench = Bench::new("bad-passing");
    let on_layer = |ask: &Ask, act: Act| match ask.what {
        What::Layer => act,
        _ => Act::Serve,
    };
    bench.succeeds("cut at each 64 KiB", move |ask| {
        on_layer(ask, Act::Cut(64 << 10))
    });
    bench.succeeds("reset", move |ask| on_layer(ask, Act::Reset(700_000)));
    bench.succeeds("no ranges", move |ask| {
        on_layer(ask, Act::IgnoreRange(None))
    });
    bench.succeeds("no ranges after a break", move |ask| {
        let whole = if ask.before == 0 { Some(100_000) } else { None };
        on_layer(ask, Act::IgnoreRange(whole))
    });
    for status in [500, 502, 503, 504] {
        bench.succeeds("5xx on everything, twice", move |ask| match ask.before {
            0 | 1 => answer(status, &[]),
            _ => Act::Serve,
        });
    }
    bench.succeeds("429 on everything, once", |ask| match ask.before {
        0 => answer(429, &[("Retry-After", "1")]),
        _ => Act::Serve,
    });
}

#[test]
fn what_does_not_pass_is_told() {
    if !world::enter("bad_registry::what_does_not_pass_is_told") {
        return;
    }
    let bench = Bench::new("bad-lasting");
    bench.fails("503 for ever", "503 Service Unavailable", |_| {
        answer(503, &[])
    });
    bench.fails("429 for a day", "asks to wait for 86400 seconds", |_| {
        answer(429, &[("Retry-After", "86400")])
    });
    let on_layer = |ask: &Ask, act: Act| match ask.what {
        What::Layer => act,
        _ => Act::Serve,
    };
    let text = "filesystem layer verification failed for digest";
    bench.fails("wrong bytes", text, move |ask| on_layer(ask, Act::Garble));
    bench.fails("wrong size", "but its manifest says", move |ask| {
        on_layer(ask, Act::Answer(200, Vec::new(), vec![7; 1000]))
    });
    bench.fails("no layer", "404", move |ask| {
        on_layer(ask, answer(404, &[]))
    });
    bench.fails(
        "another config",
        "image config verification failed",
        |ask| match ask.what {
            What::Config => Act::Garble,
            _ => Act::Serve,
        },
    );
    let lying = BadRegistry::start(LAYER_BYTES, |ask| match ask.what {
        What::Manifest => Act::Garble,
        _ => Act::Serve,
    });
    let digest = lying.manifest_digest().to_string();
    let end = pull_tag(&mut bench.daemon.client(), &lying, &digest);
    let text = "manifest verification failed for digest";
    assert!(
        end.as_ref().is_err_and(|error| error.contains(text)),
        "another manifest: {end:?}"
    );
    // What came in order stays for a pull from a registry that does not lie, and goes with it.
    let registry = BadRegistry::start_seeded(2, LAYER_BYTES, move |ask| match ask.before {
        0 => on_layer(ask, Act::Cut(100_000)),
        _ => on_layer(ask, another_range()),
    });
    let end = bench.pull(&registry);
    let text = "where bytes 100000-";
    assert!(
        end.as_ref().is_err_and(|error| error.contains(text)),
        "another range: {end:?}"
    );
    let good = BadRegistry::start_seeded(2, LAYER_BYTES, |_| Act::Serve);
    bench.succeeds_from("the right range", &good);
    assert_eq!(good.layer_bytes_sent(), good.layer_bytes() - 100_000);
    let text = "to an address that only this machine reaches";
    bench.fails("redirect to metadata", text, move |ask| {
        on_layer(ask, answer(307, &[("Location", "http://169.254.169.254/")]))
    });
    bench.fails(
        "redirects in a circle",
        "stopped after 5 redirects",
        move |ask| on_layer(ask, answer(307, &[("Location", &ask.path)])),
    );
}

#[test]
fn tokens_are_renewed_and_stay_where_they_belong() {
    if !world::enter("bad_registry::tokens_are_renewed_and_stay_where_they_belong") {
        return;
    }
    let bench = Bench::new("bad-token");
    // A token is good for one request of the layer; then it has ended, in the middle of the blob.
    let issued = AtomicU64::new(0);
    let used = AtomicU64::new(0);
    bench.succeeds("tokens that end", move |ask| {
        if ask.what == What::Token {
            let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
            return Act::Answer(
                200,
                Vec::new(),
                format!("{{\"token\":\"t{number}\"}}").into(),
            );
        }
        let newest = issued.load(Ordering::Relaxed);
        let is_layer = ask.what == What::Layer;
        let is_spent = is_layer && used.load(Ordering::Relaxed) == newest;
        if newest == 0 || ask.authorization != format!("Bearer t{newest}") || is_spent {
            return challenge();
        }
        if is_layer {
            used.store(newest, Ordering::Relaxed);
            return Act::Cut(500_000);
        }
        Act::Serve
    });
    bench.fails("401 for ever", "unauthorized", |ask| match ask.what {
        What::Token => Act::Answer(200, Vec::new(), b"{\"token\":\"t\"}".to_vec()),
        _ => challenge(),
    });

    let has_leaked = Arc::new(AtomicBool::new(false));
    let seen = has_leaked.clone();
    let other = BadRegistry::start_seeded(1, LAYER_BYTES, move |ask| {
        seen.fetch_or(!ask.authorization.is_empty(), Ordering::Relaxed);
        Act::Serve
    });
    let host = other.host();
    let registry = BadRegistry::start_seeded(1, LAYER_BYTES, move |ask| match ask.what {
        What::Token => Act::Answer(200, Vec::new(), b"{\"token\":\"t\"}".to_vec()),
        _ if ask.authorization.is_empty() => challenge(),
        What::Layer => answer(307, &[("Location", &format!("http://{host}/elsewhere"))]),
        _ => Act::Serve,
    });
    bench.succeeds_from("redirect to another host", &registry);
    assert!(other.layer_bytes_sent() >= other.layer_bytes());
    assert!(
        !has_leaked.load(Ordering::Relaxed),
        "a token went to another host"
    );
}

/// With the registry's own URL as the place where tokens are had.
fn challenge() -> Act {
    answer(
        401,
        &[(
            "WWW-Authenticate",
            "Bearer realm=\"@/token\",service=\"bad\"",
        )],
    )
}

#[test]
fn a_large_layer_comes_in_ranges_at_one_time() {
    if !world::enter("bad_registry::a_large_layer_comes_in_ranges_at_one_time") {
        return;
    }
    let bench = Bench::new("bad-ranges");
    let busy = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let seen = most.clone();
    let registry = BadRegistry::start(72 << 20, move |ask| {
        if ask.what != What::Layer {
            return Act::Serve;
        }
        let others = busy.fetch_add(1, Ordering::SeqCst);
        seen.fetch_max(others + 1, Ordering::SeqCst);
        // Long enough for another range to be asked for.
        std::thread::sleep(Duration::from_millis(300));
        busy.fetch_sub(1, Ordering::SeqCst);
        // Each range breaks off once.
        match ask.range {
            Some((start, end)) if (end - start) > (4 << 20) => Act::Cut(3 << 20),
            _ => Act::Serve,
        }
    });
    bench.succeeds_from("large", &registry);
    assert!(most.load(Ordering::SeqCst) > 1, "one range after the other");
    let (sent, all) = (registry.layer_bytes_sent(), registry.layer_bytes());
    assert!(sent * 10 <= all * 11, "{sent} bytes for {all}");
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    if !world::enter("bad_registry::a_killed_pull_goes_on_where_it_was") {
        return;
    }
    let mut bench = Bench::new("bad-killed");
    for tenth in 1..10 {
        // The first request stops there for longer than the daemon lives.
        let at = LAYER_BYTES / 10 * tenth;
        let registry = BadRegistry::start(LAYER_BYTES + tenth, move |ask| {
            match (&ask.what, ask.before) {
                (What::Layer, 0) => Act::Stall(at, Duration::from_secs(20)),
                _ => Act::Serve,
            }
        });
        let mut client = bench.daemon.client();
        std::thread::scope(|scope| {
            let pulling = scope.spawn(|| pull(&mut client, &registry));
            let until = Instant::now() + BOUND;
            while registry.layer_bytes_sent() < at as u64 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(20));
            }
            // What arrived is written.
            std::thread::sleep(Duration::from_millis(200));
            bench.daemon.kill();
            drop(pulling.join());
        });
        assert!(bench.daemon.start(""), "{}", bench.daemon.log_text());
        let end = bench.pull(&registry).expect("is pulled");
        assert!(end.contains("Downloaded newer image"), "{tenth}: {end}");
        let (sent, all) = (registry.layer_bytes_sent(), registry.layer_bytes());
        assert!(sent * 10 <= all * 11, "{tenth}: {sent} bytes for {all}");
        bench.assert_nothing_left("killed");
    }
}
