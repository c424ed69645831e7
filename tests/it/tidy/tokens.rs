//! Rust source as tokens: words, `::`, and single marks. Comments, literals and lifetimes are left out, and so is what is
//! compiled for tests alone. Does not depend on what the tokens mean.

use std::collections::BTreeSet;

/// A token and the line that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Its text.
    pub text: &'a str,
    /// Its line, counted from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether this is a name or a keyword.
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The tokens of a source.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let is_comment = |text: &str| text.starts_with("//") || text.starts_with("/*");
    let is_token = |text: &str| !is_comment(text) && !text.trim().is_empty();
    pieces(source)
        .into_iter()
        .filter(|(piece, is_literal)| !is_literal && is_token(piece.text))
        .map(|it| it.0)
        .collect()
}

/// The strings of a source with their quotes, and the line on which each begins.
pub fn strings(source: &str) -> Vec<Token<'_>> {
    let is_string = |text: &str| text.ends_with(['"', '#']);
    pieces(source)
        .into_iter()
        .filter(|(piece, is_literal)| *is_literal && is_string(piece.text))
        .map(|it| it.0)
        .collect()
}

/// All that a source consists of, each with whether it is a literal or a lifetime.
fn pieces(source: &str) -> Vec<(Token<'_>, bool)> {
    let (mut rest, mut line, mut found) = (source, 1, Vec::new());
    while !rest.is_empty() {
        let literal = literal(rest);
        let (text, after) = rest.split_at(literal.unwrap_or_else(|| length(rest)));
        found.push((Token { text, line }, literal.is_some()));
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// How long the comment, word or mark is that a source begins with.
fn length(source: &str) -> usize {
    if source.starts_with("//") {
        return source.find('\n').unwrap_or(source.len());
    }
    if source.starts_with("/*") {
        return comment(source);
    }
    if source.starts_with("::") {
        return 2;
    }
    word(source).max(source.chars().next().map_or(0, char::len_utf8))
}

/// How long the word is that a source begins with; 0 for none.
fn word(source: &str) -> usize {
    source.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(source.len())
}

/// How long a block comment is. It may have others in it.
fn comment(source: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(found) = source[at..].find(['/', '*']) {
        at += found;
        let step = match &source.as_bytes()[at..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            return at;
        }
    }
    source.len()
}

/// How long the string, character or lifetime is that a source begins with.
fn literal(source: &str) -> Option<usize> {
    let unprefixed = source.trim_start_matches(['b', 'c', 'r']);
    let (prefix, body) = source.split_at(source.len() - unprefixed.len());
    if prefix.contains('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inside = body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &body[..hashes]);
        let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return Some(source.len() - inside.len() + length);
    }
    let inside = match body.strip_prefix('"') {
        Some(inside) => end_of_quote(inside, '"'),
        None => character(body),
    };
    inside.map(|length| prefix.len() + 1 + length)
}

/// How long the rest of a character or lifetime is, behind its quote.
fn character(source: &str) -> Option<usize> {
    let inside = source.strip_prefix('\'')?;
    let mut characters = inside.chars();
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => end_of_quote(inside, '\''),
        (Some(only), Some('\'')) => Some(only.len_utf8() + 1),
        _ => Some(word(inside)),
    }
}

/// The place behind the first of these quotes that has no backslash before it.
fn end_of_quote(source: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    let end = source.char_indices().find(|(_, character)| {
        let is_end = *character == quote && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_end
    });
    end.map(|(at, _)| at + 1)
}

/// The place of the bracket that closes the one at `open`; the end where none does.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// The code of sources: of each its place and its tokens, without what is compiled for tests alone.
pub fn code(sources: &[(String, String)]) -> Vec<(&str, Vec<Token<'_>>)> {
    let module = |place: &str| place.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
    let (mut found, mut tests) = (Vec::new(), BTreeSet::new());
    for (place, source) in sources {
        let (tokens, names) = without_tests(source);
        let folder = module(place);
        let folder = folder.trim_end_matches("/lib").trim_end_matches("/main");
        tests.extend(names.iter().map(|name| format!("{folder}/{name}")));
        found.push((place.as_str(), tokens));
    }
    found.retain(|(place, _)| !tests.contains(&module(place)));
    found
}

/// The tokens of a source without what is compiled for tests alone, and the names of the files that are.
pub fn without_tests(source: &str) -> (Vec<Token<'_>>, Vec<&str>) {
    let all = tokens(source);
    let (mut kept, mut tests, mut at) = (Vec::new(), Vec::new(), 0);
    while at < all.len() {
        let attribute: String = all[at..].iter().take(7).map(|token| token.text).collect();
        if attribute != "#[cfg(test)]" {
            kept.push(all[at]);
            at += 1;
            continue;
        }
        at += 7;
        while all.get(at).is_some_and(|token| token.text == "#") {
            at = closing(&all, at + 1) + 1;
        }
        let end = end_of_item(&all, at);
        if let [.., module, name, last] = &all[at..end]
            && (module.text, last.text) == ("mod", ";")
        {
            tests.push(name.text);
        }
        at = end;
    }
    (kept, tests)
}

/// The place behind the item that begins at `start`.
fn end_of_item(tokens: &[Token<'_>], start: usize) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text {
            ";" => return at + 1,
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

#[test]
fn tokens_are_told_from_comments_and_literals() {
    let texts = |source| tokens(source).iter().map(|token| token.text).collect::<Vec<_>>().join(" ");
    assert_eq!(texts("a::b /* c /* d */ e */ f // g\nh"), "a :: b f h");
    assert_eq!(
        texts(r##"f("a::b \" c", r#"d " e"#, b"g", 'h', '\'', '\u{1f600}', b'\\', '{')"##),
        "f ( , , , , , , , )"
    );
    assert_eq!(texts("fn f<'a>(r: &'a str, b: &'static B) {}"), "fn f < > ( r : & str , b : & B ) { }");
    assert_eq!(texts("break 'outer; broken(c)"), "break ; broken ( c )");
    let lines = tokens("a\n\"b\nc\" d\n/*\n*/ e").iter().map(|token| token.line).collect::<Vec<_>>();
    assert_eq!(lines, [1, 3, 5]);
}

#[test]
fn strings_are_told_from_other_literals() {
    let source = "f(\"a \\\" b\", 'c', r#\"d\"#, b\"e\\n\") // \"f\"\nfn g<'h>() { \"\" }";
    let found: Vec<(&str, usize)> = strings(source).iter().map(|string| (string.text, string.line)).collect();
    assert_eq!(found, [("\"a \\\" b\"", 1), ("r#\"d\"#", 1), ("b\"e\\n\"", 1), ("\"\"", 2)]);
}

#[test]
fn what_is_for_tests_alone_is_left_out() {
    let source = "#[cfg(test)]\nmod plans;\nmod a;\n#[cfg(test)]\n#[expect(dead_code)]\nfn f(x: [u8; 3]) { g() }\n\
                  #[cfg(test)]\nmod tests {\n fn t() {}\n}\nstruct S;";
    let (kept, tests) = without_tests(source);
    assert_eq!(kept.iter().map(|token| token.text).collect::<Vec<_>>().join(" "), "mod a ; struct S ;");
    assert_eq!(tests, ["plans"]);
}
