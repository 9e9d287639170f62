//! Counts what is in an HTML page; the `html-parse` guest and its native twin in the benchmarks share it.

use scraper::{Html, Node};
use serde::Serialize;

/// What [`count`] found in a page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Elements of any name, those the parser adds (`html`, `head`, `body`, `tbody`) among them.
    pub elements: usize,
    /// `a` elements with an `href`.
    pub links: usize,
    /// Bytes of UTF-8 in all text nodes, white space, scripts and styles included.
    pub text_bytes: usize,
    /// Text of the first `title` element, runs of white space made one space; empty without one.
    pub title: String,
}

/// Parses `html` as a browser would (broken markup is mended, never refused) and counts what is in it.
pub fn count(html: &str) -> Counts {
    let page = Html::parse_document(html);
    let mut counts = Counts::default();
    let mut title = None;
    for node in page.tree.nodes() {
        match node.value() {
            Node::Text(text) => counts.text_bytes += text.len(),
            Node::Element(element) => {
                counts.elements += 1;
                match element.name() {
                    "a" if element.attr("href").is_some() => counts.links += 1,
                    "title" if title.is_none() => title = Some(node),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if let Some(title) = title {
        let text: String = title.children().filter_map(|child| Some(&**child.value().as_text()?)).collect();
        counts.title = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Counts, count};

    #[test]
    fn elements_links_text_and_title_are_counted() {
        let counts =
            count("<!doctype html><title> A\n page </title><body><p>ab<a href=/x>c</a><a name=y>d</a>");
        let expected = Counts { elements: 7, links: 1, text_bytes: 13, title: "A page".to_owned() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn nothing_and_nonsense_are_pages_too() {
        assert_eq!(count(""), Counts { elements: 3, ..Counts::default() });
        assert_eq!(count("<<<a<href>").links, 0);
    }

    #[test]
    fn real_page_is_counted() {
        let counts = count(include_str!("../../../../tests/data/page-73k.html"));
        assert_eq!(
            counts.title,
            "Implementing an Object-Oriented Design Pattern - The Rust Programming Language"
        );
        // Python's html.parser counts one more, inside noscript: text, for a parser that allows scripts.
        assert_eq!((counts.elements, counts.links), (920, 30));
    }
}
