use super::span_in_literal;
use crate::testing::Random;
use toml::de::DeValue;

fn value_of(raw: &str) -> String {
    let value = DeValue::parse(raw).unwrap_or_else(|error| panic!("{raw}: {error}"));
    value.get_ref().as_str().unwrap().to_owned()
}

/// What of the literal underlines `word` of the value.
fn underlined<'a>(raw: &'a str, word: &str) -> &'a str {
    let value = value_of(raw);
    let start = value.find(word).unwrap_or_else(|| panic!("{word:?} is not in {value:?}"));
    &raw[span_in_literal(raw, &(start..start + word.len()))]
}

#[test]
fn every_kind_of_string() {
    for (raw, word, expected) in [
        ("'SELECT x'", "x", "x"),
        ("'SELECT x'", "SELECT", "SELECT"),
        ("'''SELECT x'''", "x", "x"),
        ("'''\nSELECT\n x'''", "x", "x"),
        ("'''\r\nSELECT\r\n x'''", "SELECT", "SELECT"),
        ("'''\n\nx'''", "\nx", "\nx"),
        ("'''it's ''x'''''", "''x''", "''x''"),
        (r"'''a\nx'''", "x", "x"),
        (r#""SELECT x""#, "x", "x"),
        (r#""\"a\" x""#, "x", "x"),
        (r#""\"a\" x""#, "\"a\"", r#"\"a\""#),
        (r#""\u00e9 x""#, "é", r"\u00e9"),
        (r#""\U0001F600x""#, "x", "x"),
        (r#""\xe9x""#, "éx", r"\xe9x"),
        (r#""é\tx""#, "\t", r"\t"),
        (r#""é\ex""#, "x", "x"),
        (r#""FROM \"s/{x}\" WHERE y""#, "WHERE", "WHERE"),
        ("\"\"\"\nSELECT \\\n   x\"\"\"", "x", "x"),
        ("\"\"\"\r\nSELECT \\  \r\n \r\n  x y\"\"\"", "SELECT x", "SELECT \\  \r\n \r\n  x"),
        ("\"\"\"a \"b\" \\\"\"\" x\"\"\"", "x", "x"),
        ("\"\"\"a\"\"\"\"", "\"", "\""),
    ] {
        assert_eq!(underlined(raw, word), expected, "{raw:?} {word:?}");
    }
}

#[test]
fn ends_and_what_does_not_fit() {
    for (raw, span, expected) in [
        ("'abc'", 0..0, 1..1),
        ("'abc'", 3..3, 4..4),
        ("'abc'", 1..99, 2..4),
        ("'abc'", 50..99, 4..4),
        ("''", 0..0, 1..1),
        ("''''''", 0..0, 3..3),
        ("'''\n'''", 0..1, 4..4),
        (r#""\n""#, 0..1, 1..3),
        (r#""\na""#, 1..1, 3..3),
        ("abc", 1..2, 0..3),
        ("'", 0..1, 0..1),
        ("", 0..1, 0..0),
    ] {
        assert_eq!(span_in_literal(raw, &span), expected, "{raw:?} {span:?}");
    }
}

/// Each letter of a random value is found where the literal has it, whatever its neighbours are.
#[test]
fn every_letter_of_random_strings() {
    let pieces = [
        "a",
        "é",
        "😀",
        " ",
        r"\n",
        r#"\""#,
        r"\\",
        r"\u00e9",
        r"\U0001F600",
        r"\x41",
        "\\\n  ",
        "\n",
        "\r\n",
        "'",
    ];
    let mut random = Random::new(7);
    for _ in 0..2_000 {
        let written: Vec<&str> = (0..random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
        let raw = format!("\"\"\"{}\"\"\"", written.concat());
        let value = value_of(&raw);
        for (offset, letter) in value.char_indices() {
            let span = span_in_literal(&raw, &(offset..offset + letter.len_utf8()));
            let found = &raw[span.clone()];
            // Half a line end is no TOML by itself.
            let again =
                if found == "\r" { "\r".to_owned() } else { value_of(&format!("\"\"\"\n{found}\"\"\"")) };
            assert_eq!(again, letter.to_string(), "{raw:?} at {offset}: {span:?}");
        }
    }
}
