//! Names for containers that were given none: an adjective and the name of someone who found something out.

use gantry_base::ContainerName;

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "ample", "apt", "arctic", "autumn", "azure", "balmy", "bold",
    "brave", "breezy", "bright", "brisk", "calm", "candid", "cheery", "civil", "clear", "clever",
    "coral", "cosy", "crisp", "cubic", "curious", "daring", "dapper", "deft", "dewy", "early",
    "earnest", "easy", "elated", "epic", "exact", "fabled", "fair", "fancy", "fast", "fearless",
    "fiery", "fine", "firm", "fleet", "fluent", "fond", "frank", "free", "fresh", "frosty",
    "gallant", "genial", "gentle", "gifted", "glad", "golden", "grand", "hardy", "hasty", "honest",
    "humble", "icy", "ideal", "jolly", "jovial", "joyful", "keen", "kind", "lively", "loyal",
    "lucid", "lucky", "lunar", "mellow", "merry", "mighty", "mild", "modest", "musing", "neat",
    "nimble", "noble", "olive", "patient", "placid", "plucky", "polite", "prime", "proud", "quick",
    "quiet", "rapid", "ready", "regal", "robust", "rustic", "serene", "sharp", "silent", "silver",
    "sleek", "smart", "smooth", "snug", "solar", "solid", "spry", "steady", "stellar", "sturdy",
    "sunny", "swift", "tidy", "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wise",
    "witty", "young", "zealous", "zesty",
];

const PEOPLE: &[&str] = &[
    "abel",
    "ampere",
    "archimedes",
    "avogadro",
    "babbage",
    "banach",
    "bell",
    "bernoulli",
    "bohr",
    "boole",
    "born",
    "bose",
    "cantor",
    "carson",
    "cauchy",
    "cerf",
    "chandrasekhar",
    "clarke",
    "conway",
    "copernicus",
    "curie",
    "dalton",
    "darwin",
    "davinci",
    "descartes",
    "dijkstra",
    "dirac",
    "edison",
    "einstein",
    "engelbart",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goodall",
    "hamilton",
    "hawking",
    "heisenberg",
    "herschel",
    "hertz",
    "hilbert",
    "hodgkin",
    "hopper",
    "hubble",
    "hypatia",
    "jacobi",
    "johnson",
    "joliot",
    "joule",
    "kalman",
    "kepler",
    "khayyam",
    "knuth",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "lamport",
    "laplace",
    "leavitt",
    "leibniz",
    "lindgren",
    "linnaeus",
    "liskov",
    "lovelace",
    "maxwell",
    "mayer",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "moser",
    "napier",
    "nash",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "ohm",
    "pascal",
    "pasteur",
    "pauli",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "raman",
    "ramanujan",
    "ride",
    "riemann",
    "ritchie",
    "rubin",
    "rutherford",
    "sagan",
    "shannon",
    "sinoussi",
    "tesla",
    "thompson",
    "torvalds",
    "tu",
    "turing",
    "volta",
    "wescoff",
    "wiles",
    "wing",
    "wozniak",
    "wright",
    "wu",
    "yalow",
    "yonath",
];

/// A name from two random numbers; after some attempts with a number behind, so that a free one is found.
pub(crate) fn generate(random: [u32; 2], attempt: u32) -> ContainerName {
    let pick = |words: &'static [&'static str], number: u32| words[number as usize % words.len()];
    let mut name = format!(
        "{}_{}",
        pick(ADJECTIVES, random[0]),
        pick(PEOPLE, random[1])
    );
    if attempt > 5 {
        name.push_str(&attempt.to_string());
    }
    ContainerName::parse(&name).expect("both lists hold lower-case letters only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_makes_a_valid_name() {
        for index in 0..ADJECTIVES.len().max(PEOPLE.len()) {
            let index = u32::try_from(index).expect("short lists");
            assert!(generate([index, index], 6).as_str().ends_with('6'));
        }
    }
}
