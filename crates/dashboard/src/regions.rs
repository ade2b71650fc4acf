//! What of a page has changed since it was sent.
//!
//! A template marks what is kept fresh: `<div id="who" data-refresh><!--[who-->…<!--who]--></div>`.
//! The page as it is sent has a stamp of the content in the opening mark. A page that asks for
//! itself with the stamps that it has (`X-Have`) is told as JSON what differs, and nothing else:
//! `{"who": ["stamp", "html"]}`.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderName, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{answer::as_json, assets};

/// The stamps that a page has, `id:stamp` each, by commas.
const HAVE: HeaderName = HeaderName::from_static("x-have");
const OPEN: &str = "<!--[";
const END: &str = "-->";

/// A region: its id, where its opening mark ends, and its content.
struct Region<'a> {
    id: &'a str,
    /// Byte of the page at which the mark's id ends.
    at: usize,
    stamp: String,
    content: &'a str,
}

/// All regions of a page, in order; `stamped`: their marks have stamps already.
fn regions(page: &str) -> Vec<Region<'_>> {
    let (mut all, mut from) = (Vec::new(), 0);
    while let Some(start) = page[from..].find(OPEN).map(|i| from + i + OPEN.len()) {
        let Some(end) = page[start..].find(END).map(|i| start + i) else {
            break;
        };
        let mark = &page[start..end];
        let id = mark.split_once(' ').map_or(mark, |(id, _)| id);
        let body = end + END.len();
        let close = format!("<!--{id}]{END}");
        let Some(content) = page[body..].find(&close).map(|i| &page[body..body + i]) else {
            break;
        };
        all.push(Region {
            id,
            at: start + id.len(),
            stamp: format!("{:x}", assets::hash(content, assets::START)),
            content,
        });
        from = body + content.len() + close.len();
    }
    all
}

/// A page with the stamps of its regions.
pub(super) fn stamped(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 256);
    let mut from = 0;
    for region in regions(page) {
        out.push_str(&page[from..region.at]);
        out.push(' ');
        out.push_str(&region.stamp);
        from = region.at;
    }
    out.push_str(&page[from..]);
    out
}

/// What of a stamped page differs from what somebody has.
fn changed(page: &str, have: &str) -> BTreeMap<String, (String, String)> {
    let have: BTreeMap<&str, &str> = have
        .split(',')
        .filter_map(|one| one.split_once(':'))
        .collect();
    regions(page)
        .into_iter()
        .filter(|region| have.get(region.id) != Some(&&*region.stamp))
        .map(|region| {
            let new = (region.stamp, region.content.to_owned());
            (region.id.to_owned(), new)
        })
        .collect()
}

/// Answers a page that has itself already with what changed.
pub(super) async fn answer(request: Request, next: Next) -> Response {
    let have = request.headers().get(HAVE);
    let have = have.and_then(|have| have.to_str().ok().map(str::to_owned));
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = response.status() == StatusCode::OK
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let Some(have) = have.filter(|_| is_page) else {
        return response;
    };
    // It was made here and lies in memory.
    let Ok(page) = to_bytes(response.into_body(), usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let changed = changed(&String::from_utf8_lossy(&page), &have);
    ([(header::VARY, "X-Have")], as_json(&changed)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PAGE: &str =
        "<p id=a data-refresh><!--[a-->1<!--a]--></p><p><!--[b-->x<i>2</i><!--b]--></p>tail";

    #[test]
    fn only_what_changed_is_told() {
        let first = stamped(PAGE);
        assert!(first.ends_with("tail") && first.len() > PAGE.len());
        let all = changed(&first, "");
        assert_eq!(
            all.iter()
                .map(|(id, (_, text))| (&**id, &**text))
                .collect::<Vec<_>>(),
            [("a", "1"), ("b", "x<i>2</i>")]
        );
        let have = all
            .iter()
            .map(|(id, (stamp, _))| format!("{id}:{stamp}"))
            .collect::<Vec<_>>()
            .join(",");
        assert!(first.contains(&format!("<!--[a {}-->", all["a"].0)));
        assert!(changed(&first, &have).is_empty());
        let later = stamped(&PAGE.replace(">2<", ">3<"));
        let new = changed(&later, &have);
        assert_eq!(new.len(), 1);
        assert_eq!(new["b"].1, "x<i>3</i>");
    }

    #[test]
    fn marks_that_do_not_match_are_left_alone() {
        for odd in ["", "<!--[a", "<!--[a-->", "<!--[a-->x<!--b]-->", "no mark"] {
            assert_eq!(stamped(odd), odd);
        }
    }
}
