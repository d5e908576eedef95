//! JSON values as block YAML (1.2). Texts that could be taken for something else are quoted as in JSON, which YAML reads too.

use serde_json::Value;

/// The value as a document's text.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                out.push_str(&format!("{indent}{}:", scalar(name)));
                below(out, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                // The item's first line stands behind the dash, the others below it.
                let mut inner = String::new();
                write(&mut inner, item, depth + 1);
                out.push_str(&format!("{indent}- {}", inner.trim_start()));
            }
        }
        Value::Object(_) => out.push_str(&format!("{indent}{{}}\n")),
        Value::Array(_) => out.push_str(&format!("{indent}[]\n")),
        Value::String(text) => out.push_str(&format!("{indent}{}\n", scalar(text))),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&format!("{indent}{value}\n")),
    }
}

/// A field's value: on its line, or on the lines below.
fn below(out: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if is_block {
        out.push('\n');
        write(out, value, depth);
    } else {
        out.push(' ');
        write(out, value, 0);
    }
}

/// Plain only where nothing else can be meant.
fn scalar(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let is_keyword = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if is_word && !is_keyword { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_become_blocks() {
        let value = json!({
            "peers": [
                { "slot": 1, "remote": "192.0.2.1:1", "candidates": ["a", "b:c"], "state": "ready" },
                { "slot": 2, "candidates": [], "figures": {}, "missing": null }
            ],
            "no": "yes",
            "text": "two\nlines",
            "nested": { "x": [[1, 2], []], "y": 0.5 }
        });
        let expected = "\
nested:
  x:
    - - 1
      - 2
    - []
  \"y\": 0.5
\"no\": \"yes\"
peers:
  - candidates:
      - a
      - \"b:c\"
    remote: \"192.0.2.1:1\"
    slot: 1
    state: ready
  - candidates: []
    figures: {}
    missing: null
    slot: 2
text: \"two\\nlines\"
";
        assert_eq!(text(&value), expected);
        assert_eq!(text(&json!({})), "{}\n");
    }
}
