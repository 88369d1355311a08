//! PEM: named blocks of base64 in a text, RFC 7468.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// What its first line calls it.
    pub(super) label: String,
    /// What it holds.
    pub(super) contents: Vec<u8>,
}

/// The blocks of `text`; what is not well-formed is passed over.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = begun.split_once("-----") else { break };
        let Some((body, after)) = body.split_once(&format!("-----END {label}-----")) else { break };
        rest = after;
        // Headers, as old tools write them, have a colon and end with an empty line.
        let body = match body.rsplit_once("\n\n") {
            Some((headers, body)) if headers.contains(':') => body,
            _ => body,
        };
        let digits: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        if let Ok(contents) = STANDARD.decode(digits) {
            blocks.push(Block { label: label.to_owned(), contents });
        }
    }
    blocks
}
