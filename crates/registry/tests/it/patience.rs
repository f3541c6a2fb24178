//! Downloads from a registry that sends hardly anything: they end within the bounds of [`Patience`], and go on where they were.

use gantry_image::{Images, Partial};
use gantry_oci::Reference;
use gantry_registry::client::{Access, Client, Options, Patience};
use gantry_state::Database;
use gantry_testkit::bad_registry::{Act, BadRegistry, What};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LAYER_BYTES: usize = 1 << 20;
/// What is sent at once by a registry that becomes slow.
const FIRST_BYTES: usize = 600_000;

fn open(folder: &Path) -> Images {
    let database = Database::open(&folder.join("state.db")).expect("opens");
    Images::open(&folder.join("images"), &folder.join("run"), database).expect("opens")
}

fn partial(images: &Images, registry: &BadRegistry) -> Arc<Partial> {
    let partial = images.partial(&registry.layer_digest(), registry.layer_bytes());
    partial.expect("is begun")
}

/// Downloads with this patience; gives what it failed with.
fn download(registry: &BadRegistry, partial: &Arc<Partial>, patience: Patience) -> Option<String> {
    let client = Client::new(Options {
        patience,
        ..Options::default()
    });
    let name = format!("{}/a/b:1", registry.host());
    let reference = Reference::parse(&name).expect("is one");
    let repository = client
        .repository(&reference, Access::Pull, None, Vec::new())
        .expect("has no settings");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    let ended = runtime.block_on(repository.download(partial.clone()));
    ended.err().map(|error| error.to_string())
}

/// Bounds as short as a busy machine permits.
fn short() -> Patience {
    Patience {
        stall: Duration::from_secs(3),
        slow: Duration::from_secs(3),
        attempts: 2,
        backoff: Duration::from_millis(10),
        ..Patience::default()
    }
}

#[test]
fn one_byte_a_second_is_given_up_and_taken_up_again() {
    let registry = BadRegistry::start(LAYER_BYTES, |ask| match (&ask.what, ask.range) {
        // Whoever asks again comes when the registry is well.
        (What::Layer, None) => Act::Drip(FIRST_BYTES, Duration::from_secs(1)),
        _ => Act::Serve,
    });
    let folder = tempfile::tempdir().expect("is made");
    let images = open(folder.path());
    let arriving = partial(&images, &registry);
    assert_eq!(download(&registry, &arriving, short()), None);
    assert_eq!(arriving.arrived_bytes(), registry.layer_bytes());
    assert!(registry.layer_bytes_sent() * 10 <= registry.layer_bytes() * 11);
}

#[test]
fn who_never_sends_more_is_told_and_what_came_stays() {
    for (what, text) in [
        ("drips", "the registry sends too slowly"),
        ("stalls", "no data arrived for 3 seconds"),
    ] {
        let registry = BadRegistry::start(LAYER_BYTES, move |ask| match ask.before {
            0 => Act::Cut(FIRST_BYTES),
            _ if what == "drips" => Act::Drip(0, Duration::from_secs(1)),
            _ => Act::Stall(0, Duration::from_mins(1)),
        });
        let folder = tempfile::tempdir().expect("is made");
        let images = open(folder.path());
        let arriving = partial(&images, &registry);
        let failure = download(&registry, &arriving, short()).expect("fails");
        assert!(failure.contains(text), "{what}: {failure}");
        drop((arriving, images));
        // The next daemon has it.
        let images = open(folder.path());
        let kept = partial(&images, &registry).arrived_bytes();
        assert!(kept >= FIRST_BYTES as u64, "{what}: {kept}");
    }
}
