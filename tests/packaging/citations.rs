//! Whatever sources and documents cite stands in the repository: each `file.md` is a file, each
//! `file.md#heading` a heading of it.

use std::{collections::BTreeSet, fs, path::Path};

use super::{files_below, root};

/// A document that a text names, with the heading after `#`.
#[derive(Debug, PartialEq, Eq)]
struct Citation {
    file: String,
    heading: Option<String>,
    /// What follows, as far as it may belong to it.
    then: String,
}

fn citations(text: &str) -> Vec<Citation> {
    let in_name = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let in_heading = |c: char| c.is_alphanumeric() || "_-".contains(c);
    text.match_indices(".md")
        .filter_map(|(at, end)| {
            let rest = &text[at + end.len()..];
            let start = text[..at].rfind(|c| !in_name(c)).map_or(0, |i| {
                i + text[i..].chars().next().map_or(1, char::len_utf8)
            });
            if start == at || rest.starts_with(in_name) && !rest.starts_with('.') {
                return None;
            }
            let heading = rest.strip_prefix('#').map(|rest| {
                rest.split(|c| !in_heading(c))
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            });
            let after = heading.as_ref().map_or(rest, |h| &rest[1 + h.len()..]);
            Some(Citation {
                file: format!("{}.md", &text[start..at]),
                heading: heading.filter(|h| !h.is_empty()),
                then: after.chars().take(60).collect(),
            })
        })
        .collect()
}

/// The anchors of a document, made of its headings as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut fenced = false;
    document
        .lines()
        .filter(|line| {
            fenced ^= line.starts_with("```");
            !fenced && line.starts_with('#')
        })
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// A section by number or code (`section 3`, `C15`): such a one moves, and says nothing to who
/// does not know the document by heart.
fn numbered(then: &str) -> bool {
    let word = then
        .trim_start_matches(['`', ',', '"'])
        .trim_start_matches(['\n', ' ', '/', '!', '#'])
        .split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let code = |word: &str| word.len() <= 3 && word.chars().any(|c| c.is_ascii_digit());
    !then.starts_with(['.', '\'', '"', ')', ']'])
        && (["section", "sections", "part"].contains(&word) || code(word))
}

/// A comment that cites a section of no document at all, or a code.
fn loose(line: &str) -> Option<String> {
    let (_, comment) = line.split_once("//").or_else(|| line.split_once("# "))?;
    let words: Vec<&str> = comment
        .split(|c: char| !(c.is_alphanumeric() || c == '.'))
        .collect();
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let section = words
        .windows(2)
        .any(|pair| ["section", "sections"].contains(&pair[0]) && digit(pair[1]));
    let code = words.iter().any(|word| {
        word.strip_prefix('C')
            .is_some_and(|rest| rest.len() <= 2 && rest.parse::<u8>().is_ok())
    });
    (code || section && !comment.contains("RFC")).then(|| format!("a section of nothing: {line}"))
}

/// What is wrong with the citations of `text`, which stands in the folder `beside`.
fn faults(text: &str, beside: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for citation in citations(text) {
        let file = match citation.file.split_once("/blob/main/") {
            Some((_, inside)) => inside,
            None if citation.file.starts_with("//") => continue,
            None => citation.file.trim_start_matches('/'),
        };
        let found = [
            root().join(file),
            beside.join(file),
            root().join(file.trim_start_matches("../")),
        ]
        .into_iter()
        .find(|path| path.is_file());
        let Some(path) = found else {
            faults.push(format!("{file} does not exist"));
            continue;
        };
        if let Some(heading) = &citation.heading
            && !anchors(&fs::read_to_string(path).unwrap()).contains(heading)
        {
            faults.push(format!("{file} has no heading #{heading}"));
        }
        if numbered(&citation.then) {
            faults.push(format!(
                "{file}: cite a heading, {file}#heading, not {:?}",
                citation.then
            ));
        }
    }
    faults
}

#[test]
fn every_document_and_heading_that_is_cited_exists() {
    let mut files = Vec::new();
    files_below(root(), &mut files);
    let (mut cited, mut wrong) = (0, Vec::new());
    for path in files {
        let name = path.strip_prefix(root()).unwrap();
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        // Its examples are wrong on purpose.
        let examples = name.ends_with(file!().rsplit('/').next().unwrap());
        let read = [
            "rs", "py", "sh", "md", "toml", "yaml", "yml", "html", "js", "",
        ];
        if examples || !read.contains(&kind) {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        cited += citations(&text).len();
        let mut said = faults(&text, path.parent().unwrap());
        if ["rs", "py"].contains(&kind) {
            said.extend(text.lines().filter_map(loose));
        }
        wrong.extend(
            said.iter()
                .map(|fault| format!("{}: {fault}", name.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cited > 200, "only {cited} citations were found");
}

#[test]
fn a_wrong_citation_is_found() {
    let docs = root().join("docs");
    for (text, fault) in [
        ("(`docs/decisions.md#clocks`).", None),
        ("[decisions](decisions.md#the-sidecar)", None),
        (
            "`docs/decision.md`",
            Some("docs/decision.md does not exist"),
        ),
        ("see decisions.md#clock.", Some("no heading #clock")),
        ("`docs/decisions.md` C15", Some("cite a heading")),
        ("`docs/decisions.md`\n//! section 3", Some("cite a heading")),
        ("https://example.org/a.md and *.md and {name}.md", None),
    ] {
        let said = faults(text, &docs);
        match fault {
            None => assert_eq!(said, Vec::<String>::new(), "{text}"),
            Some(fault) => assert!(
                said.len() == 1 && said[0].contains(fault),
                "{text}: {said:?}"
            ),
        }
    }
}
