//! The bolt in the kit for tests: tuples in, tuples out, acks and fails, and no time passes.

use serde_json::json;
use waterspout_cli::kit::{Kit, one_bolt};
use waterspout_cli::{Components, Value};

use super::Shout;

#[test]
fn long_words_are_passed_on_in_capitals_and_every_word_is_acked() {
    let mut components = Components::default();
    components.bolt("shout", Shout::new);
    let graph = one_bolt("shout", json!({"at_least": 5}), &["word"], &["word"]);
    let mut kit = Kit::of(graph)
        .components(components)
        .feed("in")
        .start()
        .expect("the bolt can be made");

    let words = ["the", "größer", "moon", "jumped"].map(|word| kit.emit("in", [Value::from(word)]));

    let expected = ["GRÖSSER", "JUMPED"].map(|word| [Value::from(word)]);
    assert_eq!(kit.values("bolt", "default"), expected);
    assert_eq!(kit.acked("in"), words);
}
